"""Offsets: nothing alive overlaps, chains meet the bound."""

from __future__ import annotations

from itertools import combinations, pairwise

from hypothesis import given
from hypothesis import strategies as st

from labc.plan.arena import bound, place
from labc.plan.core import Slot

SIZES = st.lists(st.integers(1, 500), min_size=1, max_size=12)


def slot(i: int, size: int, first: int, last: int) -> Slot:
    return Slot(f"v{i}", f"AT_{i}", "uint8_t", "u8", size, size, first, last)


def chain(sizes: list[int]) -> tuple[Slot, ...]:
    """Each value is written by one step and read by the next."""
    return tuple(slot(i, size, i, i + 1) for i, size in enumerate(sizes))


def overlapping(slots: tuple[Slot, ...]) -> list[tuple[str, str]]:
    return [
        (a.name, b.name)
        for a, b in combinations(slots, 2)
        if a.first <= b.last and b.first <= a.last and a.offset < b.offset + b.bytes and b.offset < a.offset + a.bytes
    ]


@given(SIZES, st.sampled_from([4, 16, 64]))
def test_a_chain_meets_the_bound(sizes: list[int], align: int) -> None:
    slots = chain(sizes)
    placed, total = place(slots, align)
    assert overlapping(placed) == []
    assert total == bound(slots, align)
    assert all(s.offset % align == 0 and s.offset + s.bytes <= total for s in placed)


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 8), st.integers(0, 5)), min_size=1, max_size=14))
def test_any_lifetimes_are_kept_apart(drawn: list[tuple[int, int, int]]) -> None:
    slots = tuple(slot(i, size, first, first + length) for i, (size, first, length) in enumerate(drawn))
    placed, total = place(slots, 8)
    assert [s.name for s in placed] == [s.name for s in slots]
    assert overlapping(placed) == []
    assert bound(slots, 8) <= total <= sum(-(-s.bytes // 8) * 8 for s in slots)


@given(SIZES)
def test_without_reuse_everything_has_its_own_place(sizes: list[int]) -> None:
    placed, total = place(chain(sizes), 4, reuse=False)
    ends = sorted((s.offset, s.offset + s.bytes) for s in placed)
    assert all(a[1] <= b[0] for a, b in pairwise(ends))
    assert ends[-1][1] <= total


def test_the_hard_chain() -> None:
    """Largest first alone needs 12 here; the bound is 9."""
    assert place(chain([5, 4, 3, 5]), 1)[1] == 9
