"""The kernel table: Python, C and the packers read the same thing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cffi
import numpy as np
import pytest
from building import CHECK, HOST
from hypothesis import given, settings
from hypothesis import strategies as st

from labc import bits, kernels
from labc.check.kernels import Machine
from labc.errors import LabcError
from labc.kernels import Kernel, Parameter
from labc.plan.layout import pack

GOOD = """
LABC_OP(twice, dense, (const uint32_t *x, const uint32_t *w, uint32_t rows, int32_t *y, void *scratch))
LABC_OP(plain, paired, (const int32_t *x, uint32_t rows))
#if defined(__x86_64__)
LABC_ISA(avx2, x86_64, "-mavx2 -mpopcnt", LABC_CPU_AVX2 + LABC_CPU_POPCNT)
LABC_KERNEL(twice, avx2, 32, 8, 1, 32, (inputs + 31) / 32 * 4 + rows)
#endif
LABC_ISA(scalar, any, "", 0)
LABC_KERNEL(twice, scalar, 32, 1, 1, 1, 0)
LABC_KERNEL(plain, scalar, 0, 0, 0, 1, 0)
"""


def parse(text: str) -> kernels.Table:
    return kernels.parse(text, Path("kernels.def"), runtime=1)


def test_the_table_that_ships() -> None:
    table = kernels.table()
    assert table is kernels.table()
    assert list(table.isas)[-1] == "scalar"
    assert {op for op, isa in table.kernels if isa == "scalar"} == set(table.ops)
    assert table.ops["affine"].parameters == (
        Parameter("const int32_t *", "x"),
        Parameter("const float *", "s"),
        Parameter("const float *", "t"),
        Parameter("uint32_t", "rows"),
        Parameter("float *", "y"),
    )
    scalar = table.kernels["byte_matvec_sums", "scalar"]
    assert scalar.function == "labc_byte_matvec_sums_scalar"
    assert (scalar.word_bits, scalar.lanes, scalar.groups, scalar.scratch_bytes(inputs=784, rows=10)) == (32, 1, 1, 0)


def test_a_table_with_more_instruction_sets() -> None:
    table = parse(GOOD)
    assert table.isas["avx2"] == kernels.Isa("avx2", "x86_64", ("-mavx2", "-mpopcnt"), ("AVX2", "POPCNT"))
    assert list(table.kernels) == [("twice", "avx2"), ("twice", "scalar"), ("plain", "scalar")]
    assert table.kernels["twice", "avx2"].scratch_bytes(inputs=33, rows=5) == 2 * 4 + 5
    assert [kernels.source(op, "avx2") for op in table.ops.values()] == ["avx2.c", "avx2_paired.c"]


def test_scratch_may_depend_on_the_window() -> None:
    kernel = parse(replaced("(inputs + 31) / 32 * 4 + rows", "taps * ((channels + 31) / 32) * 4 + rows")).kernels["twice", "avx2"]
    assert kernel.scratch_bytes(inputs=9 * 33, rows=5, channels=33, taps=9) == 9 * 2 * 4 + 5
    assert kernel.scratch_bytes(inputs=33, rows=5) == 2 * 4 + 5  # without a window: one tap, of all inputs


def replaced(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "LABC_KERNEL(thrice, scalar, 32, 1, 1, 1, 0)\n", r"kernels\.def:11: no row above names op thrice; correct the row"),
        (GOOD + "LABC_KERNEL(plain, neon, 0, 0, 0, 1, 0)\n", "no row above names ISA neon"),
        (GOOD + "LABC_KERNEL(plain, scalar, 0, 0, 0, 1, 0)\n", "a second row for"),
        (GOOD + "LABC_KERNEL(plain, scalar, 0, 0, 1, 0)\n", "is not .op, isa, word_bits"),
        (GOOD + "LABC_FOO(plain)\n", "neither a row nor a preprocessor line"),
        (GOOD + "/* a\n comment */ LABC_FOO(plain)\n", "kernels.def:12: neither"),
        (GOOD + 'LABC_ISA(neon, aarch64, "", 0)\n', "the last ISA is not scalar"),
        (GOOD + "LABC_OP(more, dense, (uint32_t rows))\n", "more has no scalar kernel"),
        (replaced("LABC_OP(twice, dense, (", "LABC_OP(twice, ("), "is not .op, family, .parameters"),
        (replaced("uint32_t rows, ", "uint32_t, "), "is not a type and a name"),
        (replaced("*w,", "*x,"), "two parameters have the same name"),
        (replaced('"-mavx2 -mpopcnt"', "-mavx2"), "is not .isa, machine"),
        (replaced("32, 8, 1, 32", "32, 8, 1, 24"), "alignment 24 is not a power of two"),
        (replaced("twice, scalar, 32, 1, 1", "twice, scalar, 0, 0, 0"), "twice has weights"),
        (replaced("plain, scalar, 0, 0, 0", "plain, scalar, 32, 1, 1"), "plain has no weights"),
        (replaced("plain, scalar, 0, 0, 0, 1, 0", "plain, scalar, 0, 0, 0, 1, 4"), "plain has no parameter for scratch"),
        (replaced("(inputs + 31) / 32 * 4 + rows", "sizeof(int) * rows"), "is not made of"),
        (replaced("(inputs + 31) / 32 * 4 + rows", "inputs +"), "is not a formula"),
        (replaced("(inputs + 31) / 32 * 4 + rows", "inputs / (rows - 1)"), "is not a formula"),
    ],
)
def test_a_row_that_does_not_fit_is_named(text: str, message: str) -> None:
    with pytest.raises(LabcError, match=message):
        parse(text)


def test_c_reads_the_same_rows(tmp_path: Path, shared_library: Any) -> None:
    source = tmp_path / "rows.c"
    source.write_text("""
        extern const char *const rows[];
        const char *const rows[] = {
        #define LABC_OP(op, family, parameters) "op " #op " " #family " " #parameters,
        #define LABC_ISA(isa, machine, flags, needs) "isa " #isa " " #machine " " flags,
        #define LABC_KERNEL(op, isa, ...) "kernel " #op " " #isa " " #__VA_ARGS__,
        #include "kernels.def"
        "end"};
    """)
    ffi = cffi.FFI()
    ffi.cdef("extern const char *const rows[256];")
    library = ffi.dlopen(str(shared_library([source])))
    seen = []
    while not seen or seen[-1] != "end":
        seen.append(ffi.string(library.rows[len(seen)]).decode())
    table = kernels.table()
    ops = [
        f"op {op.name} {op.family} ({', '.join(f'{p.ctype} {p.name}'.replace('* ', '*') for p in op.parameters)})"
        for op in table.ops.values()
    ]
    isas = [f"isa {isa.name} {isa.machine} {' '.join(isa.flags)}" for isa in table.isas.values()]
    rows = [
        f"kernel {k.op} {k.isa} {', '.join(map(str, (k.word_bits, k.lanes, k.groups, k.alignment, k.scratch)))}"
        for k in table.kernels.values()
    ]
    assert [row for row in seen if row.startswith("op ")] == ops
    # On this machine C may see fewer instruction sets than Python, in the same order.
    isas_here = [row for row in seen if row.startswith("isa ")]
    assert isas_here == [row for row in isas if row in isas_here]
    assert isas_here[-1] == "isa scalar any "
    here = [row for row in seen if row.startswith("kernel ")]
    assert here == [row for row in rows if row in here]
    assert set(here) >= {row for row in rows if " scalar " in row}


@pytest.fixture(scope="module")
def packer(shared_library: Any) -> tuple[cffi.FFI, Any]:
    ffi = cffi.FFI()
    ffi.cdef("""
        typedef struct { uint32_t word_bits, lanes, groups; } labc_check_layout;
        uint32_t labc_check_position(const labc_check_layout *layout, uint32_t inputs, uint32_t rows, uint32_t n, uint32_t k);
        uint32_t labc_check_weight_words(const labc_check_layout *layout, uint32_t inputs, uint32_t rows);
        uint32_t labc_check_column(const labc_check_layout *layout, uint32_t tap, uint32_t k);
    """)
    return ffi, ffi.dlopen(str(shared_library([*Machine("host", HOST).sources, CHECK / "fence_none.c", CHECK / "memory_main.c"])))


@given(
    rows=st.integers(1, 70),
    inputs=st.integers(1, 140),
    word_bits=st.sampled_from([8, 16, 32, 64, 128]),
    lanes=st.sampled_from([1, 2, 4, 8, 16, 32]),
    groups=st.sampled_from([1, 2, 4]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60)
def test_both_packers_agree(
    packer: tuple[cffi.FFI, Any], rows: int, inputs: int, word_bits: int, lanes: int, groups: int, seed: int
) -> None:
    ffi, library = packer
    signs = np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), (rows, inputs))
    layout = ffi.new("labc_check_layout *", (word_bits, lanes, groups))
    words = np.zeros(library.labc_check_weight_words(layout, inputs, rows), np.uint32)
    for n, k in np.argwhere(signs > 0).tolist():
        place = library.labc_check_position(layout, inputs, rows, n, k)
        words[place // 32] |= np.uint32(1 << place % 32)
    kernel = Kernel("sign_matvec_sums", "none", word_bits, lanes, groups, 4, "0")
    np.testing.assert_array_equal(pack(signs, kernel), words)


@given(
    rows=st.integers(1, 40),
    taps=st.integers(1, 9),
    channels=st.integers(1, 70),
    word_bits=st.sampled_from([8, 16, 32, 64, 128]),
    lanes=st.sampled_from([1, 4, 16]),
    groups=st.sampled_from([1, 2]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=60)
def test_both_packers_fill_taps_up_alike(
    packer: tuple[cffi.FFI, Any], rows: int, taps: int, channels: int, word_bits: int, lanes: int, groups: int, seed: int
) -> None:
    ffi, library = packer
    signs = np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), (rows, taps, channels))
    layout = ffi.new("labc_check_layout *", (word_bits, lanes, groups))
    columns = library.labc_check_column(layout, channels, taps * channels)
    words = np.zeros(library.labc_check_weight_words(layout, columns, rows), np.uint32)
    for n, t, c in np.argwhere(signs > 0).tolist():
        place = library.labc_check_position(layout, columns, rows, n, library.labc_check_column(layout, channels, t * channels + c))
        words[place // 32] |= np.uint32(1 << place % 32)
    np.testing.assert_array_equal(pack(signs, Kernel("sign_conv_sums", "none", word_bits, lanes, groups, 4, "0")), words)


@given(st.integers(0, 3), st.integers(1, 100), st.integers(0, 2**32 - 1))
def test_signs_come_back_from_words(rows: int, count: int, seed: int) -> None:
    signs = np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), (rows, count))
    words = bits.pack_signs(signs)
    assert words.dtype == np.uint32
    assert words.shape == (rows, bits.words(count))
    np.testing.assert_array_equal(bits.unpack_signs(words, count), signs)
    assert not rows or count % 32 == 0 or (words[:, -1] >> np.uint32(count % 32) == 0).all()


def test_the_order_of_bits() -> None:
    signs = np.full(40, -1, np.int8)
    signs[[0, 3, 33]] = 1
    np.testing.assert_array_equal(bits.pack_signs(signs), np.array([0b1001, 0b10], np.uint32))
