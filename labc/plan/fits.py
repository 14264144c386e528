"""Whether a network fits the memory there is, and what to shrink if it does not."""

from __future__ import annotations

from labc.errors import LabcError
from labc.plan.core import Level, Plan, Slot


def fits(plan: Plan) -> Plan:
    """The plan itself. Raises LabcError saying by how much its constants exceed the flash, or its arena the RAM, and which layers do it.

    Code, stack, input and output come on top: what they take is known when an image is linked.
    """
    target = plan.target
    if target.flash_bytes is not None and plan.packed_bytes > target.flash_bytes:
        layer, nbytes = largest(plan)
        raise LabcError(
            f"{layer}: the constants take {plan.packed_bytes:,} bytes, {plan.packed_bytes - target.flash_bytes:,} more than the "
            f"{target.flash_bytes:,} bytes of flash, and this layer {nbytes:,} of them; make it narrower"
        )
    for level in plan.levels:
        if target.ram_bytes is not None and level.arena_bytes > target.ram_bytes:
            values = " + ".join(f"{slot.name} {slot.bytes:,}" for slot in alive(level))
            raise LabcError(
                f"{level.arena_layer}: the arena takes {level.arena_bytes:,} bytes, {level.arena_bytes - target.ram_bytes:,} more than the "
                f"{target.ram_bytes:,} bytes of RAM; at this layer are alive {values}; make it narrower, or pool before it"
            )
    return plan


def largest(plan: Plan) -> tuple[str, int]:
    """The layer with the most bytes of constants, and how many."""
    by_layer: dict[str, int] = {}
    for array in plan.constants:
        by_layer[array.layer] = by_layer.get(array.layer, 0) + array.bytes
    layer = max(by_layer, key=lambda layer: by_layer[layer])
    return layer, by_layer[layer]


def alive(level: Level) -> list[Slot]:
    """The values in the arena at the step that needs the most, largest first."""
    step = next(i for i, made in enumerate(level.steps) if made.layer == level.arena_layer)
    return sorted((slot for slot in level.slots if slot.first <= step <= slot.last), key=lambda slot: -slot.bytes)
