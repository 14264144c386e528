"""The kernel check on pairs: what it leaves out of all cases, and that of any two of their values every combination is left."""

from __future__ import annotations

import subprocess
from collections import Counter
from itertools import combinations, product
from pathlib import Path

import pytest
from breadth import in_turn
from building import CHECK, HOST, RUNTIME

from labc import toolchain
from labc.compiling import compile_objects, link_program

DRIVER = """
#include <stdio.h>
#include "check.h"
static uint32_t scratch_of(uint32_t inputs, uint32_t rows, uint32_t channels, uint32_t taps)
{
    return 0 * (inputs + rows + channels + taps);
}
static uint32_t one(const labc_check_case *c, void *context)
{
    (void)context;
    printf("%u %u %u %u %u %u\\n", (unsigned)c->round, (unsigned)c->inputs, (unsigned)c->rows, (unsigned)c->fill, (unsigned)c->snug,
           (unsigned)(c->window == 0 ? c->pixels : c->window->out_height * c->window->out_width));
    return 0;
}
void labc_check_put(const char *text)
{
    (void)text;
}
int main(int count, char **words)
{
    static const labc_check_row row = {"op", "isa", {32, 1, 1}, 4, scratch_of, 0};
    uint32_t cases = 0;
    (void)words;
    labc_check_pairs = count > 1;
    labc_check_cases(&row, 1, BITS, one, 0, &cases);
    puts("windows");
    labc_check_window_cases(&row, 1, LABC_CHECK_FILLED_TAPS, 1, 1, one, 0, &cases);
    puts("pixels");
    labc_check_pixel_cases(&row, 1, 8, one, 0, &cases);
    return 0;
}
"""
Cases = list[tuple[int, ...]]


def sections(text: str) -> list[Cases]:
    """The cases of vectors, windows and pixels: round, inputs, rows, fill, placement, pixels."""
    found: list[Cases] = [[]]
    for line in text.splitlines():
        if line in ("windows", "pixels"):
            found.append([])
        else:
            found[-1].append(tuple(map(int, line.split())))
    return found


@pytest.mark.parametrize("bits", [0, 1, 8])
def test_every_pair_of_values_is_left(bits: int, tmp_path: Path) -> None:
    (tmp_path / "driver.c").write_text(DRIVER)
    tool = toolchain.find(HOST)
    sources = [tmp_path / "driver.c", *(CHECK / f"{name}.c" for name in ("support", "images", "fence_none")), RUNTIME / "cpu.c"]
    objects = compile_objects(tool, HOST, sources, [CHECK, RUNTIME], tmp_path, [f"-DBITS={bits}"])
    program = str(link_program(tool, HOST, objects, tmp_path / "driver"))
    runs = [subprocess.run([program, *words], check=True, capture_output=True, text=True).stdout for words in ((), ("pairs",))]
    every, few = map(sections, runs)
    vectors, windows, pixels = zip(every, few, strict=True)
    assert len(vectors[0]) > (2 if bits == 0 else 4) * len(vectors[1]) * 0.9
    whole, part = vectors
    assert set(part) < set(whole)
    # Inputs and rows are not crossed in full to begin with: only the pairs that all cases have.
    for a, b in combinations(range(1, 5), 2):
        assert {(case[a], case[b]) for case in part} == {(case[a], case[b]) for case in whole}, (a, b)
    assert len(windows[0]) >= 4 * len(windows[1])
    assert len(pixels[0]) == 2 * len(pixels[1])
    assert {case[1:4] for case in pixels[1]} == {case[1:4] for case in pixels[0]}
    # Each window is there once, with fills and placements in turn.
    assert [case[0] for case in windows[1]] == list(range(len(windows[1])))
    assert {case[3:5] for case in windows[1]} == {case[3:5] for case in windows[0]}
    often = {rows for rows, times in Counter(case[2] for case in windows[1]).items() if times > 2}
    assert len(often) > 10
    assert all({case[4] for case in windows[1] if case[2] == rows} == {0, 1} for rows in often)


@pytest.mark.parametrize("sizes", [(6, 3), (3, 3), (6, 5, 3), (4, 4, 2), (9, 2, 2)])
def test_values_take_turns(sizes: tuple[int, ...]) -> None:
    """Every combination is a parameter; those not left to the sweeps have each pair of values, of two factors each value."""
    factors = [list(range(size)) for size in sizes]
    rows = in_turn(*factors)
    assert [row.values for row in rows] == list(product(*factors))
    taken = [row.values for row in rows if not row.marks]
    assert len(taken) * sizes[-1] == len(rows)
    strength = min(2, len(sizes) - 1)
    for which in combinations(range(len(sizes)), strength):
        assert {tuple(values[i] for i in which) for values in taken} == set(product(*(factors[i] for i in which)))
