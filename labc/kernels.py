"""Temporary."""

import re
from dataclasses import dataclass

from labc.resources import folder


@dataclass(frozen=True)
class Parameter:
    ctype: str
    name: str


@dataclass(frozen=True)
class Op:
    name: str
    parameters: tuple


@dataclass(frozen=True)
class Kernel:
    op: str
    isa: str
    word_bits: int
    lanes: int
    groups: int
    alignment: int
    scratch: str


@dataclass(frozen=True)
class Table:
    ops: dict
    kernels: dict
    runtime: int


def table():
    t = (folder("runtime") / "kernels.def").read_text()
    t = re.sub(r"/\*.*?\*/", "", t, flags=re.S)
    ops = {}
    for m in re.finditer(r"^LABC_OP\((\w+),\s*\((.*)\)\)$", t, re.M):
        ops[m[1]] = Op(m[1], tuple(Parameter(*re.match(r"(.*?)(\w+)$", p.strip()).groups()) for p in m[2].split(",")))
    ks = {}
    for m in re.finditer(r"^LABC_KERNEL\((\w+),\s*(\w+),\s*(\d+),\s*(\d+),\s*(\d+),\s*(\d+),\s*(.*)\)$", t, re.M):
        ks[m[1], m[2]] = Kernel(m[1], m[2], *map(int, m.groups()[2:6]), m[7])
    return Table(ops, ks, 1)
