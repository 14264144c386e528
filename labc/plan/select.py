"""Machine IR × target → plan: the best kernel for each node whose scratch fits, its constants packed, its arguments in order."""

from __future__ import annotations

import re
from dataclasses import replace

from labc import kernels
from labc.bits import pack_signs, words
from labc.errors import LabcError
from labc.ir.core import DTYPES, Const, Graph, Type
from labc.ir.layers import Input
from labc.ir.machine import KernelCall, Operand, Place, Scores, ScoresArgMax
from labc.ir.pointwise import View
from labc.ir.windows import image
from labc.kernels import Kernel, Op, Parameter
from labc.plan.arena import peak, place
from labc.plan.core import PLACED_TYPES, FlashArray, Level, Plan, Slot, Step, Vector
from labc.plan.layout import FLASH_TYPES, pack
from labc.target import Target

ARENA_ALIGN = 4  # the values are of at most 4 bytes, and scratch is promised no more
# docs/architecture.md names these two numbers. Kernels and float library of a dense network on a Cortex-M0 take 3.4 KB in plain C, 4.7 KB
# with the core's own kernels; with convolutions more. Where less than this is left beside the constants, code is to be small.
CODE_BYTES = 8 << 10
STACK_BYTES = 704  # of RAM that scratch leaves to the stack: plain C used up to 660 bytes of it, the kernels with scratch 372


def plan(
    graph: Graph, *, name: str, digest: str, target: Target, shape: tuple[int, ...], golden: tuple[Vector, ...], reuse: bool = True
) -> Plan:
    """Choose everything, once per level of the target. `graph` is machine IR; `digest` names the model; `shape` is the input's before any
    Flatten; `golden` goes into the self-test; `reuse=False` keeps every value in the arena readable after a run.

    Where the constants leave little of the target's flash, its kernels are plain C and one golden vector is enough; plain C, which has the
    least scratch, also where the arena leaves too little of its RAM. Raises LabcError if an op has no kernel for the target.
    """
    if _crowded(made := _plan(graph, name, digest, target, shape, golden, True)):
        plain = replace(target, isas=target.isas[-1:])
        if _plan(graph, name, digest, plain, shape, golden, True).arena_bytes < made.arena_bytes:
            return replace(plan(graph, name=name, digest=digest, target=plain, shape=shape, golden=golden, reuse=reuse), target=target)
    made = made if reuse else _plan(graph, name, digest, target, shape, golden, reuse)
    if target.flash_bytes is None or target.flash_bytes - made.packed_bytes - made.golden_bytes >= CODE_BYTES:
        return made
    small = _plan(graph, name, digest, replace(target, isas=target.isas[-1:]), shape, golden[:1], reuse)
    return replace(small, target=target)


def _crowded(made: Plan) -> bool:
    """Whether the arena leaves less than a stack of its target's RAM, and there is another choice of kernels."""
    ram = made.target.ram_bytes
    return ram is not None and made.arena_bytes + STACK_BYTES > ram and len(made.target.isas) > 1


def _plan(graph: Graph, name: str, digest: str, target: Target, shape: tuple[int, ...], golden: tuple[Vector, ...], reuse: bool) -> Plan:
    (entry,) = (node for node in graph.nodes if isinstance(node, Input))
    constants: dict[str, FlashArray] = {}
    # Of levels, each runs where those below it do: what a processor of a row of the table has includes what the rows below need.
    wanted = [target.isas[target.isas.index(level) :] for level in target.levels] or [target.isas]
    levels = tuple(_level(graph, entry, replace(target, isas=isas), constants, reuse) for isas in wanted)
    return Plan(
        name=name,
        digest=digest,
        target=target,
        input_element=entry.element,
        input_shape=shape,
        input_size=Type(entry.element, entry.shape).size,
        output_size=graph.types[graph.output].size,
        constants=tuple(constants.values()),
        arena_align=ARENA_ALIGN,
        levels=levels,
        dispatched=bool(target.levels),
        golden=golden,
    )


def _level(graph: Graph, entry: Input, target: Target, constants: dict[str, FlashArray], reuse: bool) -> Level:
    """What is run where there are the target's ISAs. Constants that no level before has in the same layout are added to `constants`."""
    table = kernels.table()
    calls = [node for node in graph.nodes if isinstance(node, KernelCall)]
    scores = calls[-1]
    assert isinstance(scores, Scores)
    body = calls[:-1]
    winner = ScoresArgMax(f"{scores.name}.class", scores.inputs, scores.s, scores.t)

    chosen = {node.name: _choose(table, node, graph, target) for node in (*calls, winner)}
    prefix = ("AT", target.isas[0]) if target.levels else ("AT",)
    slots = _slots(graph, body, scores, {name: scratch for name, (_, scratch) in chosen.items()}, prefix)
    placed, arena_bytes = place(slots, ARENA_ALIGN, reuse=reuse)
    fullest, least = peak(slots, ARENA_ALIGN)

    places = {entry.name: "(const uint8_t *)input" if entry.element == "i8" else "input", scores.name: "output", winner.name: "&winner"}
    places |= {slot.name: slot.place for slot in placed}
    # A view is another name of what it looks at.
    places |= {node.name: places[_seen(graph, node.name)] for node in graph.nodes if isinstance(node, View)}
    read: dict[str, None] = {}

    def step(node: KernelCall) -> Step:
        types = [graph.types[i] for i in node.inputs]
        operands = node.operands(*types)
        kernel = chosen[node.name][0]
        op = table.ops[kernel.op]
        _agree(node, op, operands)
        operands = {"scratch": _scratch(node), **operands}
        arguments = []
        for parameter in op.parameters:
            operand = operands[parameter.name]
            if isinstance(operand, str):
                arguments.append(places.get(operand, "NULL"))  # only a scratch of no bytes has no place
            elif isinstance(operand, Const):
                array = _constant(parameter, operand, kernel, node.name, constants)
                read[array] = None
                arguments.append("@" + array)  # @ stands for the network's prefix
            else:
                arguments.append(_window(operand) if isinstance(operand, Place) else _number(parameter, operand))
        return Step(node.name, op.name, kernel.isa, kernel.function, tuple(arguments))

    used = {kernel.isa for kernel, _ in chosen.values()}
    isas = tuple(isa for isa in target.isas if isa in used)
    return Level(
        name=target.isas[0],
        isas=isas,
        needs=tuple(dict.fromkeys(need for isa in isas if isa in table.isas for need in table.isas[isa].needs)),
        slots=placed,
        arena_bytes=arena_bytes,
        arena_bound=least,
        arena_layer=(*body, scores)[fullest].name,
        body=tuple(step(node) for node in body),
        scores=step(scores),
        winner=step(winner),
        constants=tuple(read),
    )


def _seen(graph: Graph, name: str) -> str:
    """The value that a view, of a view perhaps, looks at; others themselves."""
    node = graph.by_name[name]
    return _seen(graph, node.inputs[0]) if isinstance(node, View) else name


def _choose(table: kernels.Table, node: KernelCall, graph: Graph, target: Target) -> tuple[Kernel, int]:
    """The best kernel of the target for a node whose scratch fits the RAM there is, and the scratch's bytes."""
    types = [graph.types[i] for i in node.inputs]
    op, operands = node.op(*types), node.operands(*types)
    sizes = {key: value for key, value in operands.items() if key in ("inputs", "rows", "channels") and isinstance(value, int)}
    at = operands.get("window")
    if isinstance(at, Place):
        sizes |= {"inputs": at.channels * at.window.taps, "channels": at.channels, "taps": at.window.taps}
    for isa in target.isas:
        kernel = table.kernels.get((op, isa))
        if kernel is not None:
            scratch = kernel.scratch_bytes(**({"inputs": 1, "rows": 1} | sizes))
            fits = target.ram_bytes is None or scratch == 0 or scratch + STACK_BYTES <= target.ram_bytes
            if fits or isa == target.isas[-1]:  # then the function `fits` says what is too much
                return kernel, scratch
    raise LabcError(f"{node.name}: no kernel for {op} on target {target.name} ({', '.join(target.isas)}); add a row to runtime/kernels.def")


def _number(parameter: Parameter, value: int) -> str:
    """An integer as a C literal of the parameter's type."""
    return f"{value}u" if parameter.ctype.startswith("u") else str(value)


def _window(place: Place) -> str:
    """A labc_window as a C expression: its fields in the order of runtime/kernels.h."""
    v = place.window
    sizes = [place.height, place.width, place.channels, place.out_height, place.out_width, *v.kernel, *v.stride, *v.dilation, *v.pads[:2]]
    return f"&(const labc_window){{{', '.join(f'{size}u' for size in sizes)}}}"


def _scratch(node: KernelCall) -> str:
    """The name of a node's scratch among the places; no value has one like it."""
    return f"{node.name} (scratch)"


def _agree(node: KernelCall, op: Op, operands: dict[str, Operand]) -> None:
    named = [parameter.name for parameter in op.parameters if parameter.name != "scratch"]  # scratch is the plan's own
    if set(named) != set(operands):
        raise LabcError(f"{node.name}: the node names {sorted(operands)}, kernels.def names {named} for {op.name}; make them agree")


def _c_name(*parts: object) -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", "_".join(map(str, parts)))


def _slots(graph: Graph, body: list[KernelCall], scores: KernelCall, scratch: dict[str, int], prefix: tuple[str, ...]) -> tuple[Slot, ...]:
    """One slot per value between two steps, alive from the step that writes it to the last that reads it; and one per scratch."""
    slots = []
    last = {node.name: first for first, node in enumerate(body)}  # a value that nothing reads is still written
    for step, node in enumerate([*body, scores]):
        last |= {_seen(graph, name): step for name in node.inputs}
    for first, node in enumerate(body):
        type_ = graph.types[node.name]
        place = _c_name(*prefix, first, node.name)  # the step's number keeps names apart that differ only in dots
        ctype = PLACED_TYPES[type_.element]
        replaces = tuple(_seen(graph, name) for name in node.inputs) if node.in_place() else ()
        slots.append(Slot(node.name, place, ctype, type_.element, type_.shape, _bytes(type_), first, last[node.name], replaces=replaces))
        if need := scratch[node.name]:
            slots.append(Slot(_scratch(node), f"{place}_scratch", "uint8_t", "u8", (need,), need, first, first))
    return tuple(slots)


def _bytes(type_: Type) -> int:
    """Bytes of a value in the arena: the signs of a pixel take whole words."""
    count, height, width = image(type_.shape)
    return 4 * words(count) * height * width if type_.element == "sign" else type_.size * DTYPES[type_.element].itemsize


def _constant(parameter: Parameter, operand: Const, kernel: Kernel, layer: str, constants: dict[str, FlashArray]) -> str:
    """The name of a constant in flash. Equal ones in equal layouts are stored once: the scores and the class read the same affine."""
    weights = parameter.name == "w"
    key = f"{operand.digest} {kernel.word_bits} {kernel.lanes} {kernel.groups}" if weights else operand.digest
    align = kernel.alignment if weights else 1
    if key not in constants:
        values = pack(operand.array, kernel) if weights else operand.array
        values = pack_signs(values) if operand.type.element == "sign" and not weights else values
        constants[key] = FlashArray(_c_name(parameter.name, len(constants), layer), FLASH_TYPES[values.dtype.name], values, layer)
    found = constants[key]
    constants[key] = replace(found, align=max(align if align > found.values.itemsize else 1, found.align))
    return found.name
