"""Plan → {path: text}: renders templates, writes nothing, decides nothing."""

from __future__ import annotations

from collections.abc import Iterable

import jinja2

from labc import __version__, kernels, resources
from labc.plan.core import C_TYPES, FlashArray, Plan, Step

# The generated files: path in the source tree → template.
_FILES = {
    "include/{name}.h": "model.h.j2",
    "src/{name}.c": "model.c.j2",
    "src/{name}_weights.h": "weights.h.j2",
    "src/{name}_weights.c": "weights.c.j2",
    "src/{name}_self_test.c": "self_test.c.j2",
}


def emit(plan: Plan) -> dict[str, str]:
    """Every file of the library's source tree: generated C, and the runtime files it needs, unchanged."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(resources.folder("templates")),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters.update(literals=literals, call=call, bits=bits)
    values = {"plan": plan, "version": __version__, "runtime": kernels.table().runtime, "types": {"input": C_TYPES[plan.input_element]}}
    tree = {path.format(name=plan.name): environment.get_template(template).render(values) for path, template in _FILES.items()}
    runtime = resources.folder("runtime")
    for file in ("kernels.h", "kernels.def", *sorted({f"{step.isa}.c" for step in plan.steps})):
        tree[f"src/{file}"] = (runtime / file).read_text(encoding="utf-8")
    return tree


def call(step: Step, name: str) -> str:
    """A step as a C statement; flash arrays carry the network's name."""
    return f"{step.function}({', '.join(step.arguments)});".replace("@", f"{name}_")


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
