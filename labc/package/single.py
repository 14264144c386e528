"""single: one .c and one .h, with only the kernels used, all of them static.

Every file of the source tree is cut into pieces: a function, a variable, a macro, or anything else between two of them. Names that several
files have for themselves get the file's name appended, kernels become static, and what nothing reaches is left out. This leans on how
runtime/ and the templates are written (definitions begin in column 0 and end with a line that begins with `}` or ends with `;`); the test
compiles the result with every warning an error.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from labc import __version__, kernels
from labc.package.core import Contents, Files, Format, common
from labc.plan.core import Plan

_INCLUDE = re.compile(r'^#include (?:"(?P<own>[^"]+)"|(?P<system><[^>]+>))\n', re.MULTILINE)
_GUARD = re.compile(r"^#ifndef (\w+_H)\n#define \1\n(.*)^#endif\n\Z", re.MULTILINE | re.DOTALL)
_CPLUSPLUS = re.compile(r'^#ifdef __cplusplus\n(?:extern "C" \{|\})\n#endif\n', re.MULTILINE)
_TABLE = re.compile(r"/\* labc_<op>_fn.*?#include \"kernels\.def\"\n", re.DOTALL)
_VERSION = re.compile(r"\.global labc_runtime_\d+\\n\\t(?=\.global)")  # here every network has a runtime of its own
_FLAGS_OF_FILES = re.compile(r"^ \* (?:Sources:|        ) compile src/.*\n", re.MULTILINE)  # of files that are none here
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_WORD = re.compile(r"[A-Za-z_]\w*")
_MEMBER = re.compile(r"(?:\.|->)[A-Za-z_]\w*")
# A name behind a type and in front of what can follow one where it is declared.
_LOCAL = re.compile(
    r"\b(?!return\b|else\b|case\b|goto\b|define\b)[A-Za-z_]\w*(?: |\s*\*\s*)(?:restrict |const )?([A-Za-z_]\w*)(?=\s*(?:[=;,)]|\[))"
)
_LISTED = re.compile(r",\s*\*?([A-Za-z_]\w*)(?= = |;)")
_MACRO = re.compile(r"#\s*(?:define|undef) (\w+)")
_FUNCTION = re.compile(r"\b(\w+)\([^()]*(?:\([^()]*\)[^()]*)*\)\s*\{")
_VARIABLE = re.compile(r"\b(\w+)(?:\[[^\]]*\])*(?: LABC_FLASH)? = ")
_CONSTANTS = re.compile(r"^enum \{(.*)\}", re.DOTALL)
_TYPE = re.compile(r"^typedef .*?(\w+);\s*\Z", re.DOTALL)

_ALONE = """\
/*
 * gcc makes of each kernel the code that it makes where kernels have files of their own, which is what was checked. With @_SPECIALIZE
 * defined it makes one for the sizes of this network, which is smaller, and may warn of loops that no call runs through.
 */
#if defined(@_SPECIALIZE) || !defined(__GNUC__) || defined(__clang__)
#define KERNEL
#elif __GNUC__ >= 8
#define KERNEL __attribute__((noipa))
#else
#define KERNEL __attribute__((noinline, noclone))
#endif

"""


@dataclass(frozen=True)
class Piece:
    """A stretch of a file: its text with the comment in front, and the name of the function, variable or macro it defines, if any."""

    name: str | None
    text: str

    @property
    def words(self) -> set[str]:
        """The identifiers in its code that may be of something outside: no members, nothing that the piece declares itself."""
        code = _MEMBER.sub(" ", _COMMENT.sub(" ", self.text))
        own = {*_LOCAL.findall(code), *_LISTED.findall(code)} - {self.name}
        return set(_WORD.findall(code)) - own


def files(contents: Contents) -> Files:
    """The pair of files, and an example."""
    return {**pair(contents), **common(contents, "single", "main.c")}


def pair(contents: Contents, folder: str = "") -> Files:
    """NAME.h and NAME.c below `folder` ("", or one that ends in /)."""
    name = contents.plan.name
    header = _FLAGS_OF_FILES.sub("", contents.tree[f"include/{name}.h"])
    return {f"{folder}{name}.h": header, f"{folder}{name}.c": source(contents.plan, contents.tree)}


def source(plan: Plan, tree: Mapping[str, str]) -> str:
    """The one C file: runtime, kernels, constants, self-test, sizes, network, in this order, of what these reach."""
    name = plan.name
    own = [f"{name}_weights.c", f"{name}_self_test.c", f"{name}_info.c", f"{name}.c"]
    texts = {path.rpartition("/")[2]: text for path, text in tree.items() if path.startswith("src/") and path != "src/labc_runtime.c"}
    kernel_files = sorted(file for file in texts if file.endswith(".c") and file not in own)
    order = _in_order([*kernel_files, *own], texts)
    order = [file for file in order if file not in ("kernels.def", f"{name}_weights.h")]
    system = {found["system"] for file in order for found in _INCLUDE.finditer(texts[file]) if found["system"]}
    unconditional = sorted(header for header in system if header in ("<float.h>", "<stddef.h>", "<stdint.h>", "<string.h>"))
    pieces = {file: _cut(_bare(texts[file], plan, system - set(unconditional))) for file in order}
    pieces = _apart(pieces, {file: _included(file, texts) for file in order})
    kept = _reached(pieces, {"KERNEL", f"{name}_run", f"{name}_predict", f"{name}_self_test"})
    kept[f"{name}_info.c"] = pieces[f"{name}_info.c"]
    parts = [_head(plan), f'#include "{name}.h"\n\n' + "".join(f"#include {header}\n" for header in unconditional)]
    guard = f"{name.upper()}_NO_SELF_TEST"
    for file in order:
        text = "".join(piece.text for piece in kept[file]).strip("\n")
        if file == f"{name}_weights.c":
            text = re.sub(r"^(?=const |_Alignas\()", "static ", text, flags=re.MULTILINE)
        if file == f"{name}_self_test.c":
            text = f"#ifndef {guard} /* for linkers that keep what nobody calls */\n\n{text}\n\n#endif"
        if text:
            parts.append(f"/* ---- {file} ---- */\n\n{text}\n")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts))


def _head(plan: Plan) -> str:
    return (
        "/* SPDX-License-Identifier: Apache-2.0\n *\n"
        f" * {plan.name}: the network, its constants, its self-test and the kernels it uses, in one file.\n"
        f" * Generated by labc {__version__} for target {plan.target.name}; do not edit.\n * Model {plan.digest}\n */\n"
    )


def _included(file: str, texts: Mapping[str, str]) -> list[str]:
    """The files of the tree that `file` includes, directly or not, those included by others first."""
    found: list[str] = []
    for match in _INCLUDE.finditer(texts[file]):
        if match["own"] in texts:
            found += [name for name in (*_included(match["own"], texts), match["own"]) if name not in found]
    return found


def _in_order(files: Iterable[str], texts: Mapping[str, str]) -> list[str]:
    """The files and all they include, each once, after what it includes."""
    order: list[str] = []
    for file in files:
        order += [name for name in (*_included(file, texts), file) if name not in order]
    return order


def _bare(text: str, plan: Plan, kept: set[str]) -> str:
    """A file without licence, guard, C++ and includes but those in `kept`; the table of kernels becomes the declarations of the plan's."""
    text = re.sub(r"\A/\* SPDX-License-Identifier: Apache-2\.0(?: \*/\n|.*?\*/\n)", "", text, flags=re.DOTALL)
    text = _TABLE.sub(lambda _: _declarations(plan), text)
    text = _CPLUSPLUS.sub("", text)
    text = _VERSION.sub("", text)
    text = _INCLUDE.sub(lambda found: found[0] if found["system"] in kept else "", text)
    return _GUARD.sub(lambda found: found[2], text)


def _declarations(plan: Plan) -> str:
    """The kernels of the plan, static."""
    lines = {}
    for step in plan.levels[0].steps:
        parameters = [f"{p.ctype} {p.name}".replace("* ", "*") for p in kernels.table().ops[step.op].parameters]
        lines[step.function] = f"static KERNEL void {step.function}({', '.join(parameters)});"
    return _ALONE.replace("@", plan.name.upper()) + "\n".join(lines[function] for function in sorted(lines)) + "\n"


def _cut(text: str) -> list[Piece]:
    """A file as pieces."""
    pieces: list[Piece] = []
    pending: list[str] = []  # comments and blank lines in front of a definition
    lines = iter(text.splitlines(keepends=True))
    for line in lines:
        taken = [line]
        if line.startswith("/*"):
            while "*/" not in taken[-1]:
                taken.append(next(lines))
            pending += taken
        elif not line.strip():
            pieces += [Piece(None, "".join(pending))] if pending else []
            pending = [line]
        elif line.startswith("#"):
            while taken[-1].endswith("\\\n"):
                taken.append(next(lines))
            macro = _MACRO.match(line)
            pieces.append(Piece(macro[1] if macro else None, "".join([*pending, *taken])))
            pending = []
        else:
            while not _ends("".join(taken)):
                taken.append(next(lines))
            pieces.append(Piece(_defined("".join(taken)), "".join([*pending, *taken])))
            pending = []
    return [*pieces, Piece(None, "".join(pending))]


def _ends(text: str) -> bool:
    """Whether a definition or declaration is complete: its braces are closed and it ends with one, or with a semicolon."""
    code = re.sub(r'"(?:\\.|[^"\\])*"', '""', _COMMENT.sub(" ", text))
    return "/*" not in code and code.count("{") == code.count("}") and code.rstrip().endswith(("}", ";"))


def _defined(text: str) -> str | None:
    """What a definition defines; None for prototypes and assertions."""
    code = _COMMENT.sub(" ", text)
    for kind in (_TYPE,) if code.startswith("typedef") else (_VARIABLE,) if re.match(r"[^({]*=", code) else (_FUNCTION,):
        if found := kind.search(code):
            return found[1]
    return None


def _apart(pieces: Mapping[str, list[Piece]], included: Mapping[str, list[str]]) -> dict[str, list[Piece]]:
    """The pieces with a name that several files define renamed to NAME_FILE, in the file and in those that include it."""
    defined = {file: {name for piece in cut for name in _names(piece)} for file, cut in pieces.items()}
    counts = Counter(name for names in defined.values() for name in names)
    shared = {name for name, count in counts.items() if count > 1}
    apart = {}
    for file, cut in pieces.items():
        names: dict[str, str] = {}
        for header in (*included[file], file):
            stem = re.sub(r"\W", "_", header.removesuffix(".c"))
            names |= {name: f"{name}_{stem}" for name in defined.get(header, set()) & shared}
        apart[file] = [Piece(names.get(piece.name or "", piece.name), _renamed(piece.text, names)) for piece in cut]
    return apart


def _names(piece: Piece) -> list[str]:
    """What a piece defines, the constants of an enum too."""
    constants = _CONSTANTS.search(_COMMENT.sub(" ", piece.text).strip())
    return (
        [word for part in constants[1].split(",") for word in _WORD.findall(part)[:1]] if constants else [piece.name] if piece.name else []
    )


def _renamed(text: str, names: Mapping[str, str]) -> str:
    if not names:
        return text
    return re.sub(rf"(?<![.\w>])({'|'.join(sorted(names))})\b", lambda found: names[found[1]], text)


def _reached(pieces: Mapping[str, list[Piece]], roots: set[str]) -> dict[str, list[Piece]]:
    """The pieces that `roots` and the pieces without a name reach."""
    every = [piece for cut in pieces.values() for piece in cut]
    reached = set(roots)
    fresh = reached | {word for piece in every if piece.name is None and not _is_prototype(piece) for word in piece.words}
    while fresh:
        reached |= fresh
        fresh = {word for piece in every if piece.name in fresh for word in piece.words} - reached
    return {file: [piece for piece in cut if piece.name is None or piece.name in reached] for file, cut in pieces.items()}


def _is_prototype(piece: Piece) -> bool:
    return piece.text.lstrip().startswith("static KERNEL void labc_")


FORMAT = Format("single", "one .c and one .h, with only the kernels used", files, ("gcc", "clang"), flags_per_file=False)
