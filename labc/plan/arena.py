"""Lifetimes → offsets: where each value lies in the one buffer the caller gives."""

from __future__ import annotations

from dataclasses import replace

from labc.plan.core import Slot


def place(slots: tuple[Slot, ...], align: int, *, reuse: bool = True) -> tuple[tuple[Slot, ...], int]:
    """Offsets for all slots, multiples of `align`, such that slots alive at the same time do not overlap; and the bytes needed.

    Two ways are tried and the smaller kept: alternating ends, which is optimal for a chain (each value is alive with its
    neighbours only), and largest first into the lowest gap. `reuse=False` gives every value its own place, so that all can be
    read after a run.
    """
    if not reuse:
        return _stack(slots, align)
    return min((_ends(slots, align), _largest_first(slots, align)), key=lambda placed: placed[1])


def bound(slots: tuple[Slot, ...], align: int) -> int:
    """The least any placement can need: the largest sum of bytes alive at one step."""
    steps = {step for slot in slots for step in (slot.first, slot.last)}
    return max((sum(_round(s.bytes, align) for s in slots if s.first <= step <= s.last) for step in steps), default=0)


def _round(size: int, align: int) -> int:
    return -(-size // align) * align


def _together(a: Slot, b: Slot) -> bool:
    return a.first <= b.last and b.first <= a.last


def _stack(slots: tuple[Slot, ...], align: int) -> tuple[tuple[Slot, ...], int]:
    placed, end = [], 0
    for slot in slots:
        placed.append(replace(slot, offset=end))
        end += _round(slot.bytes, align)
    return tuple(placed), end


def _ends(slots: tuple[Slot, ...], align: int) -> tuple[tuple[Slot, ...], int]:
    total = bound(slots, align)
    order = sorted(range(len(slots)), key=lambda i: slots[i].first)
    high = set(order[1::2])
    placed = tuple(replace(slot, offset=total - _round(slot.bytes, align) if i in high else 0) for i, slot in enumerate(slots))
    for i, a in enumerate(placed):
        for b in placed[:i]:
            if _together(a, b) and a.offset < b.offset + b.bytes and b.offset < a.offset + a.bytes:
                return _largest_first(slots, align)
    return placed, total


def _largest_first(slots: tuple[Slot, ...], align: int) -> tuple[tuple[Slot, ...], int]:
    placed: list[Slot] = []
    for slot in sorted(slots, key=lambda slot: (-slot.bytes, slot.first)):
        offset = 0
        for other in sorted((o for o in placed if _together(o, slot)), key=lambda o: o.offset):
            if offset + slot.bytes <= other.offset:
                break
            offset = max(offset, _round(other.offset + other.bytes, align))
        placed.append(replace(slot, offset=offset))
    order = {slot.name: i for i, slot in enumerate(slots)}
    placed.sort(key=lambda slot: order[slot.name])
    return tuple(placed), max((_round(s.offset + s.bytes, align) for s in placed), default=0)
