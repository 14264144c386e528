"""Plan → {path: text}: renders templates, writes nothing, decides nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2

from labc import ABI, __version__, kernels, resources
from labc.plan import largest
from labc.plan.core import C_TYPES, FlashArray, Level, Plan, Step

# The generated files: path in the source tree → template.
_FILES = {
    "include/{name}.h": "model.h.j2",
    "src/{name}.c": "model.c.j2",
    "src/{name}_weights.h": "weights.h.j2",
    "src/{name}_weights.c": "weights.c.j2",
    "src/{name}_self_test.c": "self_test.c.j2",
    "src/{name}_info.c": "info.c.j2",
}
# The runtime's files of every library, and of those that choose between levels.
_RUNTIME = ("kernels.h", "kernels.def", "labc_runtime.c")
_DISPATCH = ("cpu.h", "cpu.c", "dispatch.h", "dispatch.c")

# The values of an input, as the header gives them.
_RANGES = {"u8": "0 ... 255", "i8": "-128 ... 127"}


def emit(plan: Plan) -> dict[str, str]:
    """Every file of the library's source tree: generated C, and the runtime files it needs, unchanged."""
    tree = {path.format(name=plan.name): _render(template, plan) for path, template in _FILES.items()}
    runtime = resources.folder("runtime")
    for file in (*_RUNTIME, *(_DISPATCH if plan.dispatched else ()), *_kernel_files(plan)):
        assert f"src/{file}" not in tree, f"{plan.name} is also the name of {file}"  # naming.c_name refuses such
        tree[f"src/{file}"] = (runtime / file).read_text(encoding="utf-8")
    return tree


def _kernel_files(plan: Plan) -> list[str]:
    """The runtime's files with the kernels of a plan, and the headers they include, each once."""
    runtime, ops = resources.folder("runtime"), kernels.table().ops
    steps = [step for level in plan.levels for step in level.steps]
    files = sorted({kernels.source(ops[step.op], step.isa) for step in steps})
    for file in files:  # grows: headers include headers
        included = re.findall(r'^#include "(\w+\.h)"', (runtime / file).read_text(encoding="utf-8"), re.MULTILINE)
        files += [name for name in included if name not in (*files, *_RUNTIME)]
    return files


def layers_timer(plan: Plan, level: Level) -> str:
    """The C source that times each layer of a level; not part of a library."""
    return _render("layers.c.j2", plan, level=level)


def environment() -> jinja2.Environment:
    """Where templates are and how they are read: an undefined name is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(resources.folder("templates")),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )


def layer_steps(plan: Plan, level: Level) -> str:
    """The C source with a function labc_step_K per step of a level, the scores' the last; not part of a library."""
    return _render("steps.c.j2", plan, level=level)


def stack_check(plan: Plan, measured: Mapping[str, Any] | None) -> dict[str, str]:
    """NAME.ld, a part of a linker script, which says where the stack that was `measured` on the plan's chip is more than a program's data
    leave of the RAM. Nothing where none was measured, or where no such script links a program: for Linux, for WebAssembly."""
    if measured is None or measured.get("stack") is None or not plan.target.linker_script:
        return {}
    return {f"{plan.name}.ld": _render("stack.ld.j2", plan, stack=measured["stack"])}


def _render(template: str, plan: Plan, **more: Level | int) -> str:
    reader = environment()
    reader.filters.update(literals=literals, call=call, bits=bits, aligned=aligned)
    files = [file for file in _kernel_files(plan) if file.endswith(".c")]
    flags = {f"src/{file}": " ".join(isa.flags) for file in files if (isa := kernels.isa_of(Path(file))) and isa.flags}
    values = {
        "plan": plan,
        "largest": largest(plan)[0],
        "file_flags": flags,
        "version": __version__,
        "abi": ABI,
        "runtime": kernels.table().runtime,
        "types": {"input": C_TYPES[plan.input_element], "range": _RANGES[plan.input_element]},
    }
    return reader.get_template(template).render(values | more)


def call(step: Step, name: str) -> str:
    """A step as a C statement; flash arrays carry the network's name."""
    return f"{step.function}({', '.join(step.arguments)});".replace("@", f"{name}_")


def aligned(array: FlashArray) -> str:
    """The alignment in front of a flash array's definition, where it is more than its type's."""
    return f"_Alignas({array.align}) " if array.align > 1 else ""


def bits(values: Iterable[int]) -> str:
    """Unsigned 32-bit numbers in hexadecimal."""
    return ", ".join(f"0x{value:08x}u" for value in values)


def literals(array: FlashArray) -> str:
    """The values of a flash array as lines of C literals: floats hexadecimal and exact, unsigned words hexadecimal."""
    match array.ctype:
        case "uint32_t":
            words = [f"0x{value:08x}u" for value in array.values.tolist()]
        case "float":
            words = [f"{float(value).hex()}f" for value in array.values.tolist()]
        case "int64_t":
            words = [f"INT64_C({value})" for value in array.values.tolist()]
        case _:
            words = [str(value) for value in array.values.tolist()]
    return "\n".join(f"    {', '.join(words[i : i + 8])}," for i in range(0, len(words), 8))
