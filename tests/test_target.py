"""The table of targets: what it promises, and how a wrong name is answered."""

from __future__ import annotations

import sys
from dataclasses import FrozenInstanceError, replace

import pytest

from labc import kernels, target
from labc.errors import BAD_INPUT, LabcError
from labc.flags import Toolchain, compile_flags, machine_flags


@pytest.mark.parametrize("name", target.TARGETS)
def test_every_row_is_complete(name: str) -> None:
    row = target.find(name)
    assert row.name == name
    assert row.description
    assert row.isas[-1] == "scalar"  # the portable kernel is always there, and last
    assert row.int_bits in (16, 32)
    assert (row.cpu is None) == (row.float_abi == "native")
    assert all(isa in kernels.table().isas for isa in row.isas)


def test_host_is_this_machine() -> None:
    assert target.find("host").endian == sys.byteorder


def test_arm_is_a_hard_float_cortex_m4() -> None:
    arm = target.find("arm")
    assert (arm.cpu, arm.float_abi, arm.endian) == ("cortex-m4", "hard", "little")


def test_a_target_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        target.find("arm").cpu = "cortex-m0"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("armm", "'arm'"), ("hots", "'host'"), ("mips", "'big-endian'"), ("s390x", "'big-endian'"), ("bigendian", "'big-endian'")],
)
def test_a_wrong_name_suggests_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(LabcError, match=f"did you mean {near}.*host, arm") as caught:
        target.find(wrong)
    assert caught.value.code == BAD_INPUT


def test_a_far_name_lists_all() -> None:
    with pytest.raises(LabcError, match="known targets: host, arm") as caught:
        target.find("z80")
    assert "mean" not in str(caught.value)


ZIG = Toolchain("zig", "zig", "0", ("zig", "cc"), ("zig", "ar"))
GCC = Toolchain("arm-none-eabi-gcc", "gcc", "0", ("gcc",), ("ar",))


@pytest.mark.parametrize(
    ("name", "zig", "gcc"),
    [
        ("aarch64", "-target aarch64-freestanding-none -mcpu=cortex_a53+neon", "-mcpu=cortex-a53"),
        (
            "armv7",
            "-target arm-freestanding-eabihf -mcpu=cortex_a7+neon",
            "-mcpu=cortex-a7 -marm -mfloat-abi=hard -mfpu=neon-vfpv4",
        ),
    ],
)
def test_application_cores_are_spelled_for_each_family(name: str, zig: str, gcc: str) -> None:
    row = target.find(name)
    assert row.isas == ("neon", "scalar")
    assert " ".join(machine_flags(ZIG, row)) == zig
    assert " ".join(machine_flags(GCC, row)) == gcc
    assert "-O2" in compile_flags(GCC, row)
    with pytest.raises(LabcError, match="hard float ABI only"):
        machine_flags(GCC, replace(row, float_abi="soft"))


def test_webassembly_has_a_core_with_vectors_and_one_without() -> None:
    usual = target.find("wasm32")
    plain = target.with_core(usual, "wasm32")
    assert (usual.cpu, usual.isas) == ("wasm32-simd128", ("simd128", "scalar"))
    assert target.with_core(usual, "wasm32-simd128") == usual
    assert (plain.cpu, plain.isas) == ("wasm32", ("scalar",))
    assert [machine_flags(ZIG, one)[-1] for one in (usual, plain)] == ["-mcpu=generic+simd128", "-mcpu=generic"]


@pytest.mark.parametrize(
    ("cpu", "float_abi", "zig", "gcc"),
    [
        ("cortex-m4", "hard", "eabihf -mcpu=cortex_m4+vfp4d16sp", "-mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16"),
        ("cortex-m4", "soft", "eabi -mcpu=cortex_m4", "-mcpu=cortex-m4 -mthumb -mfloat-abi=soft"),
        ("cortex-m0", "soft", "eabi -mcpu=cortex_m0", "-mcpu=cortex-m0 -mthumb -mfloat-abi=soft"),
        ("cortex-m7", "hard", "eabihf -mcpu=cortex_m7+fp_armv8d16sp", "-mcpu=cortex-m7 -mthumb -mfloat-abi=hard -mfpu=fpv5-sp-d16"),
    ],
)
def test_variants_are_spelled_for_each_family(cpu: str, float_abi: str, zig: str, gcc: str) -> None:
    variant = replace(target.find("arm"), cpu=cpu, float_abi=float_abi)  # type: ignore[arg-type]
    assert " ".join(machine_flags(ZIG, variant)) == f"-target thumb-freestanding-{zig}"
    assert " ".join(machine_flags(GCC, variant)) == gcc


@pytest.mark.parametrize(
    ("name", "cpu", "isa", "zig", "gcc"),
    [
        (
            "riscv32",
            "rv32imac_zbb",
            "zbb32",
            "-target riscv32-freestanding-none -mcpu=generic_rv32+m+a+c+zbb",
            "-march=rv32imac_zbb -mabi=ilp32 -mcmodel=medany -msmall-data-limit=0",
        ),
        (
            "riscv64",
            "rv64gc_zbb",
            "zbb64",
            "-target riscv64-freestanding-none -mcpu=generic_rv64+m+a+c+zbb+f+d -mabi=lp64d -mcmodel=medany",
            "-march=rv64gc_zbb -mabi=lp64d -mcmodel=medany -msmall-data-limit=0",
        ),
    ],
)
def test_cores_with_zbb_are_spelled_for_each_family(name: str, cpu: str, isa: str, zig: str, gcc: str) -> None:
    row = target.with_core(target.find(name), cpu)
    assert row.isas == (isa, "scalar")
    assert target.find(name).isas == ("scalar",)  # a core's own are not its target's
    assert " ".join(machine_flags(ZIG, row)) == zig
    assert " ".join(machine_flags(GCC, row)) == gcc


def test_a_core_has_isas_of_its_own() -> None:
    arm = target.find("arm")
    assert target.with_core(arm, "cortex-m55").isas == ("mve", "cortexm", "scalar")
    assert target.with_core(arm, "cortex-m55", "soft").isas == target.with_core(arm, "cortex-m33").isas == ("cortexm", "scalar")


def test_hard_float_needs_an_fpu() -> None:
    with pytest.raises(LabcError, match="cortex-m0 has no FPU; use the soft float ABI"):
        machine_flags(ZIG, replace(target.find("arm"), cpu="cortex-m0"))


def test_an_unknown_core_lists_the_known() -> None:
    with pytest.raises(LabcError, match="'cortex-m99' not known; known cores: cortex-m0, "):
        machine_flags(ZIG, replace(target.find("arm"), cpu="cortex-m99"))
