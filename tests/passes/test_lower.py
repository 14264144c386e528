"""Lowering: the bound of the requantization, to the last bit. What else it refuses is in tests/frontend/test_bad_files.py."""

from __future__ import annotations

import numpy as np
import pytest

from labc.errors import LabcError
from labc.ir import layers
from labc.ir.core import Const, Graph
from labc.passes.lower import lower


def graph(m: int, b: int, shift: int) -> Graph:
    one = Const("sign", [[1]])
    return Graph(
        (
            layers.Input("x", (), "u8", (1,)),
            layers.Dense("fc1", ("x",), one),
            layers.Requantize("r", ("fc1",), Const("i32", [m]), Const("i64", [b]), shift),
            layers.Dense("fc2", ("r",), one),
            layers.Affine("a", ("fc2",), Const("f32", np.ones(1)), Const("f32", np.ones(1))),
        ),
        "a",
    )


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("m", [0, 7, (1 << 31) - 1])
@pytest.mark.parametrize("shift", [1, 50])
def test_the_sum_with_its_rounding_half_stays_below_52_bits(m: int, sign: int, shift: int) -> None:
    most = (1 << 52) - 1 - 255 * m - (1 << (shift - 1))
    assert lower(graph(sign * m, sign * most, shift)).nodes[1].kind() == "mat_vec"
    with pytest.raises(LabcError, match="r: channel 0 leaves 52 bits; re-export"):
        lower(graph(sign * m, sign * (most + 1), shift))
