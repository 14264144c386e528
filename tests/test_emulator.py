"""The emulator: right answers, exact counts, every kind of fault named, and ELF files that lie."""

from __future__ import annotations

import random
import struct
import time
from dataclasses import replace
from pathlib import Path

import pytest
from breadth import some

from labc import elf, emulator, target, toolchain
from labc.compiling import archive, compile_objects
from labc.emulator import EmulatorFault, unicorn
from labc.emulator.unicorn import Image
from labc.errors import BAD_INPUT, FAILED, NOT_HERE, LabcError
from labc.image import image_files, link_image

ARM = target.find("arm")
VARIANTS = {
    "m4-hard": ARM,
    "m4-soft": replace(ARM, float_abi="soft"),
    "m0": replace(ARM, cpu="cortex-m0", float_abi="soft"),
}

CODE = """
#include <stddef.h>
#include <stdint.h>

int add(int a, int b, int c, int d, int e, int f);
int add(int a, int b, int c, int d, int e, int f) { return a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f; }

int table[3] = {1, 2, 3};
static int zero[5];
const int constant[2] = {7, 8};
int next(int i);
int next(int i) { zero[i]++; return table[i]++ + zero[i] + constant[0]; }

int32_t dot(const uint32_t *a, const uint32_t *b, int32_t n);
int32_t dot(const uint32_t *a, const uint32_t *b, int32_t n)
{
    int32_t s = 0;
    for (int32_t i = 0; i < n; i++) {
        for (uint32_t x = a[i] ^ b[i]; x; x &= x - 1u) {
            s++;
        }
    }
    return 32 * n - 2 * s;
}

void affine(const float *x, float *y, const float *st, int n);
void affine(const float *x, float *y, const float *st, int n)
{
    for (int i = 0; i < n; i++) {
        y[i] = x[i] * st[0] + st[1];
    }
}

uint32_t divide(uint32_t a, uint32_t b);
uint32_t divide(uint32_t a, uint32_t b) { return a / b; }
int peek(const int *p);
int peek(const int *p) { return *p; }
void poke(int *p, int v);
void poke(int *p, int v) { *p = v; }
void hang(void);
void hang(void) { for (;;) { __asm__ volatile(""); } }
int deep(int n);
int deep(int n) { volatile int a[8]; a[0] = n; return n ? deep(n - 1) + a[0] : 0; }
void undefined(void);
void undefined(void) { __asm__ volatile("udf #1"); }
void jump(void (*f)(void));
void jump(void (*f)(void)) { f(); __asm__ volatile(""); }

__attribute__((naked)) int loop(int n);
__attribute__((naked)) int loop(int n) { __asm__(".syntax unified\\n1: subs r0, #1\\nbne 1b\\nbx lr"); }
__attribute__((naked)) int stack44(int n);
__attribute__((naked)) int stack44(int n)
{
    __asm__(".syntax unified\\npush {r4-r7, lr}\\nsub sp, #24\\nstr r0, [sp]\\nadd sp, #24\\npop {r4-r7, pc}");
}
#if __ARM_ARCH_ISA_THUMB == 2
__attribute__((naked)) int it(int n);
__attribute__((naked)) int it(int n) { __asm__(".syntax unified\\ncmp r0, #0\\nitt eq\\nmoveq r0, #5\\naddeq r0, #1\\nbx lr"); }
__attribute__((naked)) int wide(int n);
__attribute__((naked)) int wide(int n) { __asm__(".syntax unified\\nmovw r0, #0x1234\\nadds r0, #1\\nmovt r0, #0x5678\\nbx lr"); }
#endif
"""
KEEP = "add next dot affine divide peek poke hang deep undefined jump loop stack44".split()  # noqa: SIM905


def build(compiler: str, variant: str, place: Path) -> Path:
    where = VARIANTS[variant]
    try:
        found = toolchain.find(where, compiler)
    except LabcError as error:
        pytest.skip(f"not run here: {error}")
    sources, linker_script = image_files(where)
    code = place / "code.c"
    code.write_text(CODE)
    start = compile_objects(found, where, sources, [], place)
    objects = compile_objects(found, where, [code], [], place, ["-Wno-unused-parameter"])
    library = archive(found, objects, place / "libcode.a")
    keep = KEEP if variant == "m0" else [*KEEP, "it", "wide"]
    return link_image(found, where, [*start, library], linker_script, place / f"{compiler}-{variant}.elf", keep=keep)


# Of zig one; the sweeps take the others.
BUILT = some(
    [(c, v) for c in ("zig", "arm-none-eabi-gcc") for v in VARIANTS], [("zig", "m4-hard"), *(("arm-none-eabi-gcc", v) for v in VARIANTS)]
)


@pytest.fixture(scope="module", params=BUILT, ids="-".join)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    compiler, variant = request.param
    cpu = VARIANTS[variant].cpu
    assert cpu
    return build(compiler, variant, tmp_path_factory.mktemp("image")), cpu


@pytest.fixture(scope="module")
def zig_m4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("zig", "m4-hard", tmp_path_factory.mktemp("m4"))


def words(n: int, seed: int) -> list[int]:
    draw = random.Random(seed)
    return [draw.getrandbits(32) for _ in range(n)]


def put(image: Image, form: str, *values: float) -> int:
    data = struct.pack(f"<{len(values)}{form}", *values)
    address = image.alloc(len(data), 4)
    image.write(address, data)
    return address


def test_answers(built: tuple[Path, str]) -> None:
    image = Image(*built)
    assert image.call("add", 1, -2, 3, -4, 5, -6).result == 1 - 4 + 9 - 16 + 25 - 36  # two arguments on the stack
    assert [image.call("next", 1).result for _ in range(3)] == [10, 12, 14]  # .data, .bss and .rodata
    assert image.call("divide", 0xFFFF_FFFF, 7).result == 0xFFFF_FFFF // 7
    a, b = words(64, 1), words(64, 2)
    assert image.call("dot", put(image, "I", *a), put(image, "I", *b), 64).result == 64 * 32 - 2 * sum(
        (x ^ y).bit_count() for x, y in zip(a, b, strict=True)
    )


def test_floats_are_never_fused(built: tuple[Path, str]) -> None:
    image = Image(*built)
    x = 1 + 2.0**-12  # x*x = 1 + 2^-11 + 2^-24 rounds to 1 + 2^-11; a fused product would keep the 2^-24
    source, scale, out = put(image, "f", x, 2.0, -3.5), put(image, "f", x, -(1 + 2.0**-11)), image.alloc(12, 4)
    image.call("affine", source, out, scale, 3)
    got = struct.unpack("<3f", image.read(out, 12))
    assert got[0] == 0.0
    assert got[1] == 2 * x - (1 + 2.0**-11)


def test_counts_are_exact(built: tuple[Path, str]) -> None:
    image = Image(*built)
    for n in (1, 2, 1000):
        assert image.call("loop", n, measure=True).instructions == 2 * n + 1
    a, b = put(image, "I", *words(64, 3)), put(image, "I", *words(64, 4))
    # Against single steps, in code without IT blocks (unicorn does not report the instructions those skip).
    for name, args in (("loop", (50,)), ("stack44", (1,)), ("divide", (1000, 7)), ("dot", (a, b, 64))):
        counted = image.call(name, *args, measure=True).instructions
        assert counted == steps(image, name, *args)


def steps(image: Image, name: str, *args: int) -> int:
    import unicorn

    seen = [0]

    def step(*_: object) -> None:
        seen[0] += 1

    image._uc.ctl_flush_tb()
    hook = image._uc.hook_add(unicorn.UC_HOOK_CODE, step)
    image.call(name, *args)
    image._uc.hook_del(hook)
    image._uc.ctl_flush_tb()
    return seen[0]


def test_counting_does_not_depend_on_what_ran_before(built: tuple[Path, str]) -> None:
    image = Image(*built)
    a = put(image, "I", *words(64, 5))
    first = image.call("dot", a, a, 64, measure=True)
    for _ in range(3):
        assert image.call("dot", a, a, 64) == replace(first, instructions=None, stack_bytes=None)
        assert image.call("dot", a, a, 64, measure=True) == first


def test_conditional_and_wide_instructions_count_as_one(zig_m4: Path) -> None:
    image = Image(zig_m4)
    assert image.call("it", 0, measure=True) == emulator.Call(6, 5, 0)
    assert image.call("it", 1, measure=True) == emulator.Call(1, 5, 0)  # skipped ones are issued too
    assert image.call("wide", 0, measure=True) == emulator.Call(0x5678_1235, 4, 0)


def test_stack_high_water(built: tuple[Path, str]) -> None:
    image = Image(*built)
    assert image.call("stack44", 3, measure=True).stack_bytes == 44
    assert image.call("loop", 3, measure=True).stack_bytes == 0
    depth = [image.call("deep", n, measure=True).stack_bytes for n in (1, 2, 3)]
    assert None not in depth
    assert depth[2] - depth[1] == depth[1] - depth[0] > 0  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "args", "reason"),
    [
        ("peek", (0x5000_0000,), "read of 4 bytes at 0x50000000, no memory"),
        ("poke", (0x5000_0000, 1), "write of 4 bytes at 0x50000000, no memory"),
        ("poke", (0x100, 1), "write of 4 bytes at 0x00000100, read-only memory"),
        ("jump", (0x5000_0001,), "prefetch abort|jump to 0x50000000, no code"),
        ("hang", (), "no end after 200000 instructions"),
        ("deep", (1_000_000,), "write of . bytes at 0x77feff.., no memory"),
        ("undefined", (), "an instruction that cortex-m.* does not have"),
        ("Reset_Handler", (), "semihosting exit, code 0"),
    ],
)
@pytest.mark.parametrize("measure", [False, True])
def test_faults_are_named(built: tuple[Path, str], name: str, args: tuple[int, ...], reason: str, measure: bool) -> None:
    image = Image(*built)
    before = image.call("add", 1, 2, 3, 4, 5, 6)
    for _ in range(2):  # the second time from translated code
        with pytest.raises(EmulatorFault, match=f"^{name}: stopped at 0x[0-9a-f]{{8}} .*: (?:{reason})") as caught:
            image.call(name, *args, budget=200_000, measure=measure)
        assert caught.value.code == FAILED
        if name not in ("jump", "Reset_Handler"):
            assert caught.value.symbol.partition("+")[0] == name
            symbol = image.symbols[name]
            assert symbol.address <= caught.value.pc < symbol.address + symbol.size
    assert image.call("add", 1, 2, 3, 4, 5, 6) == before  # a fault leaves the core usable


def test_a_core_runs_only_what_it_has(zig_m4: Path) -> None:
    with pytest.raises(EmulatorFault, match="that cortex-m0 does not have"):
        Image(zig_m4, "cortex-m0").call("wide", 0)
    image = Image(zig_m4, "cortex-m3")
    assert image.call("wide", 0).result == 0x5678_1235
    buffer = put(image, "f", 1.0, 2.0)
    with pytest.raises(EmulatorFault, match="affine"):
        image.call("affine", buffer, buffer, buffer, 2)
    odd = Image(zig_m4, "cortex-m4")
    assert odd.call("peek", put(odd, "I", 0x4433_2211, 0x8877_6655) + 1).result == 0x5544_3322


def test_a_cortex_m0_takes_no_unaligned_address(tmp_path: Path) -> None:
    image = Image(build("zig", "m0", tmp_path), "cortex-m0")
    with pytest.raises(EmulatorFault, match="data abort"):
        image.call("peek", put(image, "I", 1, 2) + 1)


@pytest.mark.parametrize("cpu", some(["cortex-m0plus", "cortex-m3", "cortex-m7", "cortex-m33"], ["cortex-m33"]))
def test_other_cores(cpu: str, tmp_path: Path) -> None:
    hard = cpu in ("cortex-m7", "cortex-m33")
    VARIANTS[cpu] = replace(ARM, cpu=cpu, float_abi="hard" if hard else "soft")
    try:
        image = Image(build("zig", cpu if cpu != "cortex-m0plus" else "m0", tmp_path), cpu)
    finally:
        del VARIANTS[cpu]
    out = image.alloc(8, 4)
    image.call("affine", put(image, "f", 0.5, -2.0), out, put(image, "f", 3.0, 0.25), 2)
    assert struct.unpack("<2f", image.read(out, 8)) == (1.75, -5.75)


def test_start_up_sets_data_and_bss(built: tuple[Path, str]) -> None:
    image = Image(*built)
    image.call("next", 0)
    table = image.symbols["table"]
    assert (table.kind, table.size) == ("object", 12)
    image.write(table.address, bytes(range(12)))
    with pytest.raises(EmulatorFault, match="semihosting exit, code 0"):
        image.call("Reset_Handler")
    assert struct.unpack("<3i", image.read(table.address, 12)) == (1, 2, 3)
    assert image.call("next", 0).result == 1 + 1 + 7


def test_memory_ends_where_it_was_asked_to(zig_m4: Path) -> None:
    image = Image(zig_m4)
    for nbytes, align in ((1, 1), (12, 4), (100, 64), (4096, 8), (5000, 4), (0, 8), (70_000, 4096)):
        address = image.alloc(nbytes, align)
        assert address % align == 0
        assert image.read(address, nbytes) == bytes(nbytes)
        image.write(address, b"\xff" * nbytes)
        with pytest.raises(LabcError, match="not all memory"):
            image.read(address, nbytes + align)
    end = image.alloc(12, 4) + 12
    with pytest.raises(EmulatorFault, match="no memory"):
        image.call("peek", end)
    for nbytes, align in ((-1, 4), (4, 3), (4, 0), (4, 8192), (1 << 30, 4)):
        with pytest.raises(LabcError, match="emulator: "):
            image.alloc(nbytes, align)


def test_sections_come_from_the_headers(built: tuple[Path, str]) -> None:
    table = elf.sections(built[0])
    assert table[".data"] == 12
    assert table[".bss"] == 20
    assert table["ram"] == 32
    assert table[".image"] == table["image"] > 64
    assert table["flash"] == sum(size for name, size in table.items() if name.startswith(".") and name != ".bss")
    assert elf.sections(built[0].read_bytes()) == table


def test_speed(zig_m4: Path) -> None:
    image = Image(zig_m4)
    a = put(image, "I", *words(64, 6))
    image.call("dot", a, a, 64)
    began = time.perf_counter()
    for _ in range(1000):
        image.call("dot", a, a, 64)
    assert time.perf_counter() - began < 1.0  # measured: 0.02 to 0.05 s


def test_no_such_function_or_core(zig_m4: Path) -> None:
    image = Image(zig_m4)
    for name in ("nothing", "table"):
        with pytest.raises(LabcError, match="name it in `keep`"):
            image.call(name)
    with pytest.raises(LabcError, match="known cores: cortex-m0"):
        Image(zig_m4, "cortex-m99")


def test_no_emulator_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unicorn.available() is None
    monkeypatch.setitem(__import__("sys").modules, "unicorn", None)
    reason = unicorn.available()
    assert reason is not None
    assert "pip install 'labc[cross]'" in reason
    with pytest.raises(LabcError, match="unicorn") as caught:
        Image(b"")
    assert caught.value.code == NOT_HERE


# ELF files that lie


def test_what_is_no_image(tmp_path: Path, zig_m4: Path) -> None:
    good = zig_m4.read_bytes()
    for data in (b"", b"\x7fELF", b"MZ" + bytes(100), good[:4] + b"\x02" + good[5:], good[:18] + b"\x3e" + good[19:]):
        with pytest.raises(LabcError, match="not an ELF executable of a core that labc emulates") as caught:
            Image(data)
        assert caught.value.code == BAD_INPUT
    with pytest.raises(LabcError, match=r"missing\.elf: cannot be read"):
        elf.sections(tmp_path / "missing.elf")


def test_a_segment_that_is_too_large_or_elsewhere(zig_m4: Path) -> None:
    good = bytearray(zig_m4.read_bytes())
    (start,) = struct.unpack_from("<I", good, 28)
    for offset, value in ((4, 0xFFFF_0000), (8, 0x7000_0000), (16, 0xFFFF_FFFF), (20, 0xFFFF_FFFF)):
        bad = bytearray(good)
        struct.pack_into("<I", bad, start + offset, value)
        with pytest.raises(LabcError, match=r"image: .*; build it again"):
            Image(bytes(bad))


def test_damaged_files_give_an_error_or_an_image(zig_m4: Path) -> None:
    good = zig_m4.read_bytes()
    draw = random.Random(7)
    began = time.perf_counter()
    refused = 0
    for _ in range(200):
        bad = bytearray(good)
        if draw.random() < 0.3:
            del bad[draw.randrange(len(bad)) :]
        else:
            # Headers and tables matter more than code.
            low = draw.choice((16, len(bad) - 1500))
            for _ in range(draw.randrange(1, 6)):
                bad[draw.randrange(low, low + 200 if low == 16 else len(bad))] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))
        try:
            Image(bytes(bad))
            elf.sections(bytes(bad))
        except LabcError:
            refused += 1
    assert 20 < refused < 200
    assert time.perf_counter() - began < 20


# Application cores

A_CODE = """
#include <stdint.h>
int many(const int8_t *p, uint32_t a, int b, int c, int d, int e, int f, int g, const int8_t *q, uint32_t h);
int many(const int8_t *p, uint32_t a, int b, int c, int d, int e, int f, int g, const int8_t *q, uint32_t h)
{
    return *p + (a == 0x80000000u) + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * *q + (h == 0xffffffffu ? 9 : 0);
}
int table[3] = {1, 2, 3};
static int zero[5];
const int constant[2] = {7, 8};
int next(int i);
int next(int i) { zero[i]++; return table[i]++ + zero[i] + constant[0]; }
float unfused(const float *x);
float unfused(const float *x) { return x[0] * x[0] + x[1]; }
void keep_float(const float *x, float *y);
void keep_float(const float *x, float *y) { *y = unfused(x); }
uint32_t divide(const uint64_t *x);
uint32_t divide(const uint64_t *x) { return (uint32_t)(x[0] / x[1]); }
int peek(const int *p);
int peek(const int *p) { return *p; }
void poke(int *p, int v);
void poke(int *p, int v) { *p = v; }
void hang(void);
void hang(void) { for (;;) { __asm__ volatile(""); } }
int deep(int n);
int deep(int n) { volatile int a[8]; a[0] = n; return n ? deep(n - 1) + a[0] : 0; }
int frame(int n);
int frame(int n)
{
    volatile int a[64];
    for (int i = 0; i < 64; i++) {
        a[i] = i;
    }
    return a[n];
}
void undefined(void);
void undefined(void) { __asm__ volatile(".inst " UDF); }
void jump(void (*f)(void));
void jump(void (*f)(void)) { f(); __asm__ volatile(""); }
int loop(int n);
int loop(int n) { __asm__ volatile("1: subs %0, %0, #1\\nbne 1b" : "+r"(n) : : "cc"); return n; }
"""
A_KEEP = ["many", "next", "keep_float", "divide", "peek", "poke", "hang", "deep", "frame", "undefined", "jump", "loop"]
A_CORES = {
    ("aarch64", "zig"): "0x00000000",
    ("aarch64", "aarch64-linux-gnu-gcc"): "0x00000000",
    ("armv7", "zig"): "0xe7f000f1",
    ("armv7", "arm-linux-gnueabihf-gcc"): "0xe7f000f1",
}


@pytest.fixture(scope="module", params=A_CORES, ids="-".join)
def application(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    name, compiler = request.param
    where, place = target.find(name), tmp_path_factory.mktemp("image")
    try:
        found = toolchain.find(where, compiler)
    except LabcError as error:
        pytest.skip(f"not run here: {error}")
    sources, linker_script = image_files(where)
    (place / "code.c").write_text(
        A_CODE.replace("UDF", f'"{A_CORES[request.param]}"').replace("%0, %0", "%w0, %w0" if name == "aarch64" else "%0, %0")
    )
    objects = compile_objects(found, where, [*sources, place / "code.c"], [], place)
    assert where.cpu
    return link_image(found, where, objects, linker_script, place / "image.elf", keep=A_KEEP), where.cpu


def test_application_cores_answer(application: tuple[Path, str]) -> None:
    image = Image(*application)
    p, q = image.alloc(1, 1), image.alloc(1, 1)
    image.write(p, b"\xfb")
    image.write(q, b"\x05")
    args = (p, 0x8000_0000, -2, 3, -4, 5, -6, 7, q, 0xFFFF_FFFF)  # arguments nine and ten are on the stack everywhere
    assert image.call("many", *args).result == -5 + 1 - 4 + 9 - 16 + 25 - 36 + 49 + 40 + 9
    assert [image.call("next", 1).result for _ in range(3)] == [10, 12, 14]  # .data, .bss and .rodata
    assert image.call("divide", put(image, "Q", 10**15, 7)).result == (10**15 // 7 & 0xFFFF_FFFF) - 2**32
    x, y = 1 + 2.0**-12, image.alloc(4, 4)
    image.call("keep_float", put(image, "f", x, -(1 + 2.0**-11)), y)
    assert image.read(y, 4) == bytes(4)  # a fused product would keep the 2^-24
    odd = put(image, "I", 0x4433_2211, 0x8877_6655) + 1
    assert image.call("peek", odd).result == 0x5544_3322


def test_application_cores_count_exactly(application: tuple[Path, str]) -> None:
    image = Image(*application)
    counts = [image.call("loop", n, measure=True).instructions for n in (1, 2, 1000)]
    assert [count - counts[0] for count in counts if count and counts[0]] == [0, 2, 1998]
    # Against single steps, in code without conditional instructions (unicorn does not report those that are skipped).
    for name, args in (("loop", (50,)), ("next", (1,)), ("frame", (3,))):
        assert image.call(name, *args, measure=True).instructions == steps(image, name, *args)
    assert image.call("loop", 3, measure=True).stack_bytes == 0
    frame = image.call("frame", 3, measure=True)
    assert frame.result == 3
    assert frame.stack_bytes is not None
    assert 256 <= frame.stack_bytes < 300


@pytest.mark.parametrize(
    ("name", "args", "reason"),
    [
        ("peek", (0x5000_0000,), "read of 4 bytes at 0x50000000, no memory"),
        ("poke", (0x5000_0000, 1), "write of 4 bytes at 0x50000000, no memory"),
        ("poke", (0x10000, 1), "write of 4 bytes at 0x00010000, read-only memory"),
        ("jump", (0x5000_0000,), "prefetch abort|jump to 0x50000000, no code"),
        ("hang", (), "no end after 200000 instructions"),
        ("deep", (1_000_000,), "write of .* bytes at 0x77fe.*, no memory"),
        ("undefined", (), "undefined instruction|an instruction that cortex-a.* does not have"),
    ],
)
@pytest.mark.parametrize("measure", [False, True])
def test_application_cores_name_faults(application: tuple[Path, str], name: str, args: tuple[int, ...], reason: str, measure: bool) -> None:
    image = Image(*application)
    for _ in range(2):  # the second time from translated code
        with pytest.raises(EmulatorFault, match=f"^{name}: stopped at 0x[0-9a-f]{{8}} .*: (?:{reason})") as caught:
            image.call(name, *args, budget=200_000, measure=measure)
        if name != "jump":
            assert caught.value.symbol.partition("+")[0] == name
    assert image.call("loop", 5).result == 0  # a fault leaves the core usable


def test_an_image_runs_on_a_core_of_its_width(application: tuple[Path, str]) -> None:
    elf_file, cpu = application
    other = {"cortex-a53": "cortex-a7", "cortex-a7": "cortex-a53"}[cpu]
    with pytest.raises(LabcError, match=f"-bit code and {other} a .*-bit core; name the core it is for"):
        Image(elf_file, other)


def test_damaged_files_of_application_cores_give_an_error_or_an_image(application: tuple[Path, str]) -> None:
    elf_file, cpu = application
    good = elf_file.read_bytes()
    table = elf.sections(elf_file)
    assert table[".data"] == 12
    assert table["image"] == 0  # no start-up code
    draw, refused = random.Random(9), 0
    for _ in range(100):
        bad = bytearray(good)
        if draw.random() < 0.3:
            del bad[draw.randrange(len(bad)) :]
        else:
            low = draw.choice((16, len(bad) - 1500))
            for _ in range(draw.randrange(1, 6)):
                bad[draw.randrange(low, low + 200 if low == 16 else len(bad))] = draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))
        try:
            Image(bytes(bad), cpu)
            elf.sections(bytes(bad))
        except LabcError:
            refused += 1
    assert 10 < refused < 100
