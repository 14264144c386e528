"""python: a wheel with the shared library and a typed wrapper; it needs NumPy at run time, and neither labc nor a compiler."""

from __future__ import annotations

import base64
import hashlib
import keyword
import re
import sys
import sysconfig

from labc import __version__, flags
from labc.errors import LabcError
from labc.package.archive import archive
from labc.package.core import Contents, Files, Format, common, render

# Modules that are there besides the standard library's, or that pip could not do without.
_TAKEN = {"numpy", "test", "pip", "setuptools", "wheel", "pkg_resources"}


def files(contents: Contents) -> Files:
    """The wheel (PEP 427). Raises LabcError for a network whose name Python has for itself."""
    name = contents.plan.name
    project = re.sub("_+", "-", name).strip("-")  # core metadata, "Name"; in file names with _ (binary distribution format)
    distribution = project.replace("-", "_").lower()
    if keyword.iskeyword(name) or name in sys.stdlib_module_names or {name, distribution} & _TAKEN:
        raise LabcError(f"package python: {name!r} is a name of Python's own, so no module can be called that; give another with --name")
    if contents.library is None or contents.library_name is None:
        raise LabcError("package python: holds a compiled library, and none was built; build it with labc.compile")
    info = f"{distribution}-{__version__}.dist-info"
    elements = {"u8": "uint8", "i8": "int8"}
    # wheel: a platform of its own, as pip of this Python spells it; the wrapper is of no Python version.
    tag = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
    wheel = f"{distribution}-{__version__}-{tag}.whl"
    shared = common(contents, "python", wheel=wheel)
    inside: Files = {
        f"{name}/__init__.py": render(
            contents, "python/init.py.j2", library=contents.library_name, element=elements[contents.plan.input_element]
        ),
        f"{name}/__main__.py": render(contents, "python/main.py.j2"),
        f"{name}/py.typed": "",
        f"{name}/{contents.library_name}": contents.library,
        f"{info}/licenses/LICENSE": shared["LICENSE"],
        f"{info}/METADATA": render(contents, "python/METADATA.j2", project=project) + "\n" + str(shared["README.md"]),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: labc {__version__}\nRoot-Is-Purelib: false\nTag: {tag}\n",
    }
    inside[f"{info}/RECORD"] = "".join(_record(path, content) for path, content in inside.items()) + f"{info}/RECORD,,\n"
    return {wheel: archive(inside), **shared}


def _record(path: str, content: str | bytes) -> str:
    """A line of RECORD: path, hash, size."""
    data = content if isinstance(content, bytes) else content.encode("utf-8")
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode("ascii")
    return f"{path},sha256={digest},{len(data)}\n"


def _any_processor() -> str | None:
    """The target of a wheel that runs on machines like this one, not only on this one's processor."""
    return "x86-64" if flags.host_machine() == "x86_64" else None


FORMAT = Format(
    "python",
    "a wheel with the library and a typed wrapper for NumPy",
    files,
    ("pip",),
    ("x86-64", "host"),
    compiled=True,
    default=_any_processor,
)
