"""What a network may be called in C."""

from __future__ import annotations

import re
from pathlib import Path

from labc import kernels, resources
from labc.errors import LabcError

# Keywords of C11 and C++20, and main.
_C_WORDS = re.compile(
    "alignas|alignof|and|and_eq|asm|auto|bitand|bitor|bool|break|case|catch|char|char(8|16|32)_t|class|co_(await|return|yield)|compl|"
    "concept|const|const_cast|consteval|constexpr|constinit|continue|decltype|default|delete|do|double|dynamic_cast|else|enum|"
    "explicit|export|extern|false|float|for|friend|goto|if|inline|int|long|main|mutable|namespace|new|noexcept|not|not_eq|nullptr|"
    "operator|or|or_eq|private|protected|public|register|reinterpret_cast|requires|restrict|return|short|signed|sizeof|static|"
    "static_assert|static_cast|struct|switch|template|this|thread_local|throw|true|try|typedef|typeid|typename|union|unsigned|"
    "using|virtual|void|volatile|wchar_t|while|xor|xor_eq"
)

# Headers of C11 (7.1.2 of the standard) and of POSIX that firmware commonly includes: NAME.h must not hide one of them.
_C_HEADERS = re.compile(
    "assert|complex|ctype|errno|fcntl|fenv|float|inttypes|iso646|limits|locale|math|memory|pthread|setjmp|signal|stdalign|stdarg|stdatomic|"
    "stdbool|stddef|stdint|stdio|stdlib|stdnoreturn|string|strings|tgmath|threads|time|uchar|unistd|wchar|wctype"
)


def c_name(name: str | None, path: Path) -> str:
    """The C prefix: `name`, or one made from the file's name. Raises LabcError unless it is an identifier of its own."""
    wanted = name if name is not None else re.sub(r"[^A-Za-z0-9_]+", "_", path.stem).strip("_")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,39}", wanted):
        raise LabcError(
            f"name {wanted!r}: not a C identifier of 1 to 40 letters, digits and _ that begins with a letter; give one with --name"
        )
    # As file names too: src/ holds the runtime's files, and some file systems do not tell cases apart.
    file = wanted.lower()
    runtime = {path.stem for path in resources.folder("runtime").glob("*.[ch]")}
    ours = file in ("labc", *kernels.table().isas, *runtime) or file.startswith("labc_")
    if ours or _C_WORDS.fullmatch(file) or _C_HEADERS.fullmatch(file):
        raise LabcError(f"name {wanted!r}: is taken by C, C++ or labc itself; give another with --name")
    return wanted
