"""The kernel table, runtime/kernels.def, as Python reads it: what each op takes, and which kernels there are."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from labc import resources
from labc.errors import LabcError

_ROW = re.compile(r"(LABC_OP|LABC_ISA|LABC_KERNEL)\((.*)\)")
_PARAMETER = re.compile(r"((?:const )?\w+ ?\*?) ?(\b\w+)")
K = TypeVar("K")
V = TypeVar("V")
# Architectures whose ISA rows bear a name for several: arm_neon is AArch64, and 32-bit Arm where its compiler has NEON switched on.
_FAMILIES = {"aarch64": "arm_neon"}
_REMEDY = "correct the row as the head of the file says"


@dataclass(frozen=True)
class Parameter:
    """One parameter of an op in C: `ctype` as in `const uint32_t *`, and its name."""

    ctype: str
    name: str


@dataclass(frozen=True)
class Op:
    """What a kernel can compute; its parameters in the order of the C call. `family` says in which file of an ISA its kernel is."""

    name: str
    family: str
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True)
class Isa:
    """An instruction set: its kernels are in the files `sources` names, for `machine` ("any", or an architecture), compiled with `flags`.

    `needs` are the features a processor must have, as names of runtime/cpu.h without their LABC_CPU_; none where every one has them.
    """

    name: str
    machine: str
    flags: tuple[str, ...]
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Kernel:
    """One implementation of an op. `word_bits`, `lanes` and `groups` are its weight layout, 0 where there are no weights.

    `alignment`: bytes that the address of the weights is promised to be a multiple of. `scratch`: the formula, in `inputs`, `rows`,
    `channels` and `taps`, of the bytes it needs.
    """

    op: str
    isa: str
    word_bits: int
    lanes: int
    groups: int
    alignment: int
    scratch: str

    @property
    def function(self) -> str:
        """The C function."""
        return f"labc_{self.op}_{self.isa}"

    def scratch_bytes(self, *, inputs: int, rows: int, channels: int | None = None, taps: int = 1) -> int:
        """Bytes of scratch for a layer of this size; without a window, its `channels` are its inputs."""
        values = {"inputs": inputs, "rows": rows, "channels": inputs if channels is None else channels, "taps": taps}
        return _evaluate(ast.parse(self.scratch, mode="eval").body, values)


@dataclass(frozen=True)
class Table:
    """The whole table; kernels by (op, ISA), in its order: best ISA first, `scalar` last. `runtime` is the number of the C interface."""

    ops: Mapping[str, Op]
    isas: Mapping[str, Isa]
    kernels: Mapping[tuple[str, str], Kernel]
    runtime: int


@cache
def table() -> Table:
    """The table labc ships. Raises LabcError naming the line of a row that does not fit."""
    runtime = resources.folder("runtime")
    header = (runtime / "kernels.h").read_text(encoding="utf-8")
    found = re.search(r"^#define LABC_RUNTIME (\d+)$", header, re.MULTILINE)
    if found is None:
        raise LabcError("runtime/kernels.h: defines no LABC_RUNTIME number; restore the file")
    return parse((runtime / "kernels.def").read_text(encoding="utf-8"), Path("runtime/kernels.def"), runtime=int(found[1]))


@cache
def features() -> Mapping[str, int]:
    """The processor features of runtime/cpu.h: name without LABC_CPU_ → the bit it has in what labc_cpu_features answers."""
    text = (resources.folder("runtime") / "cpu.h").read_text(encoding="utf-8")
    return {name: int(bit) for name, bit in re.findall(r"^#define LABC_CPU_(\w+) (\d+)\b", text, re.MULTILINE)}


def runnable(machine: str, has: int) -> tuple[str, ...]:
    """The ISAs, best first, that a processor of `machine` (an architecture, as rows of the table name it) with the features `has` runs.

    Raises LabcError if a row needs a feature that runtime/cpu.h does not define.
    """
    found = []
    for isa in map(table().isas.__getitem__, seen(machine)):
        if unknown := set(isa.needs) - features().keys():
            raise LabcError(
                f"runtime/kernels.def: ISA {isa.name} needs {min(unknown)}, which runtime/cpu.h does not define; define it there"
            )
        if all(has & features()[need] for need in isa.needs):
            found.append(isa.name)
    return tuple(found)


def seen(machine: str) -> tuple[str, ...]:
    """The ISAs, best first, whose rows a compiler for `machine` sees: it links all of them, whatever the processor then runs."""
    return tuple(isa.name for isa in table().isas.values() if isa.machine in ("any", machine, _FAMILIES.get(machine)))


def source(op: Op, isa: str) -> str:
    """The file in runtime/ with an ISA's kernel of an op."""
    return f"{isa}.c" if op.family == "dense" else f"{isa}_{op.family}.c"


def sources(isa: str) -> tuple[str, ...]:
    """All files in runtime/ with kernels of an ISA."""
    rows = table()
    return tuple(dict.fromkeys(source(rows.ops[op], isa) for op, of in rows.kernels if of == isa))


def isa_of(file: Path) -> Isa | None:
    """The ISA whose kernels are in a file of runtime/, by its name; None for other files."""
    isas = table().isas
    return isas.get(file.stem) or isas.get(file.stem.rpartition("_")[0])


def parse(text: str, place: Path, *, runtime: int) -> Table:
    """The table in `text`; rows are one line each. Raises LabcError naming `place` and the line of a row that does not fit."""
    ops: dict[str, Op] = {}
    isas: dict[str, Isa] = {}
    kernels: dict[tuple[str, str], Kernel] = {}
    # A comment keeps its line breaks, so that lines keep their numbers.
    code = re.sub(r"/\*.*?\*/", lambda comment: "\n" * comment[0].count("\n"), text, flags=re.DOTALL)
    for number, line in enumerate(code.splitlines(), start=1):
        row = _ROW.fullmatch(line.strip())
        if row is None:
            if line.strip() and not line.lstrip().startswith("#"):
                raise LabcError(f"{place}:{number}: neither a row nor a preprocessor line: {line.strip()}; {_REMEDY}")
            continue
        try:
            if row[1] == "LABC_OP":
                _add(ops, (op := _op(row[2])).name, op)
            elif row[1] == "LABC_ISA":
                _add(isas, (isa := _isa(row[2])).name, isa)
            else:
                kernel = _kernel(row[2], ops, isas)
                _add(kernels, (kernel.op, kernel.isa), kernel)
        except ValueError as error:
            raise LabcError(f"{place}:{number}: {error}; {_REMEDY}") from None
    _complete(ops, isas, kernels, place)
    return Table(ops, isas, kernels, runtime)


def _add(rows: dict[K, V], key: K, row: V) -> None:
    if key in rows:
        raise ValueError(f"a second row for {key}")
    rows[key] = row


def _op(text: str) -> Op:
    found = re.fullmatch(r"(\w+), (\w+), \((.*)\)", text)
    if found is None:
        raise ValueError(f"LABC_OP({text}) is not (op, family, (parameters))")
    parameters = []
    for part in found[3].split(", "):
        parameter = _PARAMETER.fullmatch(part)
        if parameter is None:
            raise ValueError(f"{found[1]}: {part!r} is not a type and a name")
        parameters.append(Parameter(parameter[1].strip(), parameter[2]))
    if len({p.name for p in parameters}) != len(parameters):
        raise ValueError(f"{found[1]}: two parameters have the same name")
    return Op(found[1], found[2], tuple(parameters))


def _isa(text: str) -> Isa:
    found = re.fullmatch(r'(\w+), (\w+), "([^"]*)", (0|LABC_CPU_\w+(?: \+ LABC_CPU_\w+)*)', text)
    if found is None:
        raise ValueError(f'LABC_ISA({text}) is not (isa, machine, "flags", needs)')
    return Isa(found[1], found[2], tuple(found[3].split()), tuple(re.findall(r"LABC_CPU_(\w+)", found[4])))


def _kernel(text: str, ops: Mapping[str, Op], isas: Mapping[str, Isa]) -> Kernel:
    fields = re.split(r",\s*", text, maxsplit=6)
    if len(fields) != 7 or not all(field.isdecimal() for field in fields[2:6]):
        raise ValueError(f"LABC_KERNEL({text}) is not (op, isa, word_bits, lanes, groups, alignment, scratch)")
    op, isa, scratch = fields[0], fields[1], fields[6]
    word_bits, lanes, groups, alignment = (int(field) for field in fields[2:6])
    if op not in ops or isa not in isas:
        raise ValueError(f"no row above names {'op ' + op if op not in ops else 'ISA ' + isa}")
    has_weights = "w" in {parameter.name for parameter in ops[op].parameters}
    if any((number > 0) != has_weights for number in (word_bits, lanes, groups)):
        raise ValueError(f"{op} {isa}: {op} has {'' if has_weights else 'no '}weights, its layout is {word_bits}, {lanes}, {groups}")
    if alignment < 1 or alignment & (alignment - 1):
        raise ValueError(f"{op} {isa}: alignment {alignment} is not a power of two")
    kernel = Kernel(op, isa, word_bits, lanes, groups, alignment, scratch)
    try:
        needed = kernel.scratch_bytes(inputs=1, rows=1)
    except (SyntaxError, ZeroDivisionError):
        raise ValueError(f"{op} {isa}: {scratch!r} is not a formula") from None
    if needed and "scratch" not in {parameter.name for parameter in ops[op].parameters}:
        raise ValueError(f"{op} {isa}: {op} has no parameter for scratch")
    return kernel


def _evaluate(node: ast.expr, values: Mapping[str, int]) -> int:
    """A formula that means the same in C and here: + - * / ( ), numbers, names of `values`; / rounds down."""
    match node:
        case ast.Constant(value=int(value)):
            return value
        case ast.Name(id=name) if name in values:
            return values[name]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _evaluate(left, values) + _evaluate(right, values)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return _evaluate(left, values) - _evaluate(right, values)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return _evaluate(left, values) * _evaluate(right, values)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return _evaluate(left, values) // _evaluate(right, values)
    raise ValueError(f"scratch: {ast.unparse(node)!r} is not made of + - * / ( ), numbers, inputs, rows, channels and taps")


def _complete(ops: Mapping[str, Op], isas: Mapping[str, Isa], kernels: Mapping[tuple[str, str], Kernel], place: Path) -> None:
    """Every op has a scalar kernel, and scalar comes last."""
    if list(isas)[-1:] != ["scalar"]:
        raise LabcError(f"{place}: the last ISA is not scalar; put plain C last, it is what every machine has")
    for op in ops:
        if (op, "scalar") not in kernels:
            raise LabcError(f"{place}: {op} has no scalar kernel; plain C is the contract, add its row")
