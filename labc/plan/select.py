"""Machine IR × target → plan: the best kernel for each node whose scratch fits, its constants packed, its arguments in order."""

from __future__ import annotations

import re
from dataclasses import replace

from labc import kernels
from labc.errors import LabcError
from labc.ir.core import Const, Graph, Type
from labc.ir.machine import Input, KernelCall, Operand, Scores, ScoresArgMax
from labc.kernels import Kernel, Op
from labc.plan.arena import bound, place
from labc.plan.core import C_TYPES, FlashArray, Level, Plan, Slot, Step, Vector
from labc.plan.layout import FLASH_TYPES, pack
from labc.target import Target

ARENA_ALIGN = 4  # the values are of at most 4 bytes, and scratch is promised no more


def plan(
    graph: Graph, *, name: str, digest: str, target: Target, shape: tuple[int, ...], golden: tuple[Vector, ...], reuse: bool = True
) -> Plan:
    """Choose everything, once per level of the target. `graph` is machine IR; `digest` names the model; `shape` is the input's before any
    Flatten; `golden` goes into the self-test; `reuse=False` keeps every value in the arena readable after a run.

    Raises LabcError if an op has no kernel for the target.
    """
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

    places = {entry.name: "(const uint8_t *)input" if entry.element == "i8" else "input", scores.name: "output", winner.name: "&winner"}
    places |= {slot.name: slot.place for slot in placed}
    read: dict[str, None] = {}

    def step(node: KernelCall) -> Step:
        operands = node.operands(*(graph.types[i] for i in node.inputs))
        kernel = chosen[node.name][0]
        op = table.ops[node.op]
        _agree(node, op, operands)
        operands = {"scratch": _scratch(node), **operands}
        arguments = []
        for parameter in op.parameters:
            operand = operands[parameter.name]
            if isinstance(operand, int):
                arguments.append(f"{operand}u")
            elif isinstance(operand, str):
                arguments.append(places.get(operand, "NULL"))  # only a scratch of no bytes has no place
            else:
                array = _constant(parameter.name, operand, kernel, node.name, constants)
                read[array] = None
                arguments.append("@" + array)  # @ stands for the network's prefix
        return Step(node.name, node.op, kernel.isa, kernel.function, tuple(arguments))

    used = {kernel.isa for kernel, _ in chosen.values()}
    isas = tuple(isa for isa in target.isas if isa in used)
    return Level(
        name=target.isas[0],
        isas=isas,
        needs=tuple(dict.fromkeys(need for isa in isas if isa in table.isas for need in table.isas[isa].needs)),
        slots=placed,
        arena_bytes=arena_bytes,
        arena_bound=bound(slots, ARENA_ALIGN),
        body=tuple(step(node) for node in body),
        scores=step(scores),
        winner=step(winner),
        constants=tuple(read),
    )


def _choose(table: kernels.Table, node: KernelCall, graph: Graph, target: Target) -> tuple[Kernel, int]:
    """The best kernel of the target for a node whose scratch fits the RAM there is, and the scratch's bytes."""
    operands = node.operands(*(graph.types[i] for i in node.inputs))
    inputs, rows = (value if isinstance(value := operands.get(key), int) else 1 for key in ("inputs", "rows"))
    for isa in target.isas:
        kernel = table.kernels.get((node.op, isa))
        if kernel is not None:
            scratch = kernel.scratch_bytes(inputs=inputs, rows=rows)
            if target.ram_bytes is None or scratch < target.ram_bytes:
                return kernel, scratch
    raise LabcError(
        f"{node.name}: no kernel for {node.op} on target {target.name} ({', '.join(target.isas)}); add a row to runtime/kernels.def"
    )


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
    order = [*body, scores]
    for first, node in enumerate(body):
        type_ = graph.types[node.name]
        count = -(-type_.size // 32) if type_.element == "sign" else type_.size
        size = count * {"sign": 4, "u8": 1, "i8": 1, "i32": 4}[type_.element]
        last = max(i for i, user in enumerate(order) if node.name in user.inputs)
        place = _c_name(*prefix, first, node.name)  # the step's number keeps names apart that differ only in dots
        slots.append(Slot(node.name, place, C_TYPES[type_.element], type_.element, type_.size, size, first, last))
        if need := scratch[node.name]:
            slots.append(Slot(_scratch(node), f"{place}_scratch", "uint8_t", "u8", need, need, first, first))
    return tuple(slots)


def _constant(name: str, operand: Const, kernel: Kernel, layer: str, constants: dict[str, FlashArray]) -> str:
    """The name of a constant in flash. Equal ones in equal layouts are stored once: the scores and the class read the same affine."""
    signs = operand.type.element == "sign"
    key = f"{operand.digest} {kernel.word_bits} {kernel.lanes} {kernel.groups}" if signs else operand.digest
    align = kernel.alignment if name == "w" else 1
    if key not in constants:
        values = pack(operand.array, kernel) if signs else operand.array
        constants[key] = FlashArray(_c_name(name, len(constants), layer), FLASH_TYPES[values.dtype.name], values, layer)
    found = constants[key]
    constants[key] = replace(found, align=max(align if align > found.values.itemsize else 1, found.align))
    return found.name
