"""The packer against the formula at the head of kernels.def, element by element."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from labc.kernels import Kernel
from labc.plan.layout import pack


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 37),
    st.integers(1, 150),
    st.sampled_from([8, 16, 32, 64, 128]),
    st.sampled_from([1, 2, 8, 16]),
    st.sampled_from([1, 2, 4]),
)
def test_every_element_is_where_the_table_says(seed: int, n: int, k: int, bits: int, lanes: int, groups: int) -> None:
    w = np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), (n, k))
    kernel = Kernel("sign_matvec_sums", "any", bits, lanes, groups, 1, "0")
    packed = pack(w, kernel)
    assert packed.dtype == np.uint32
    words, block = -(-k // bits), lanes * groups
    assert packed.size == -(-(-(-n // lanes) * lanes * words * bits) // 32)
    want = np.zeros(packed.size, np.uint64)
    for row in range(n):
        q = row // block
        g = groups if q < (n - 1) // block or n % block == 0 else -(-(n % block) // lanes)  # of the last block, as many as it needs
        for column in range(k):
            p = (q * block * words + (column // bits * g + row // lanes % groups) * lanes + row % lanes) * bits + column % bits
            want[p // 32] |= np.uint64(int(w[row, column] > 0) << p % 32)
    np.testing.assert_array_equal(packed, want)
