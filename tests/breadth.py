"""How much of a large set of cases a run takes: `make test` a part that has every pair of values, the sweeps all of it.

A test marked `sweep` runs in the sweeps only, one marked `wider` in both, there with more examples; see CONTRIBUTING.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import pytest

SWEEP = False  # set by conftest.py before a test is imported
T = TypeVar("T")


def examples(few: int, many: int) -> int:
    """How many examples Hypothesis draws: `few`, in a sweep `many`; for tests marked `wider`."""
    return many if SWEEP else few


def some(values: Iterable[T], chosen: Iterable[T]) -> list[Any]:
    """Parameters for all `values`; those that are not `chosen` are left to the sweeps."""
    kept = list(chosen)
    return [pytest.param(value, marks=() if value in kept else pytest.mark.sweep) for value in values]


def in_turn(*factors: Sequence[Any], rare: Sequence[Any] = ()) -> list[Any]:
    """Parameters for every combination of values, of which a run takes each one of all factors but the last, whose values take turns.

    Of three factors, the last of which is the shortest, these have every pair of values of any two. The sweeps take the others too, and
    those with a `rare` value of the last factor, unless it has no others.
    """
    turns = [value for value in factors[-1] if value not in rare] or factors[-1]
    found = []
    for combination in itertools.product(*map(enumerate, factors)):
        values = [value for _, value in combination]
        taken = values[-1] == turns[sum(index for index, _ in combination[:-1]) % len(turns)]
        found.append(pytest.param(*values, marks=() if taken else pytest.mark.sweep))
    return found


def first_of(rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Parameters for all rows, of which a run takes the first of those that begin alike: a target with its best compiler."""
    first = {row[0]: row for row in reversed(rows)}
    return [pytest.param(*row, marks=() if row is first[row[0]] else pytest.mark.sweep) for row in rows]
