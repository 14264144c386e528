"""What the packages' tests share: a program that uses a package, and how commands are run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

STRICT = "-Wall -Wextra -Wpedantic -Wconversion -Werror"

CONSUMER = """\
#include "net.h"
static uint32_t arena[NET_ARENA_BYTES / 4];
int main(void)
{
    return net_self_test(arena);
}
"""

BOTH = """\
#include "first.h"
#include "second.h"
static uint32_t arena[(FIRST_ARENA_BYTES + SECOND_ARENA_BYTES) / 4];
int main(void)
{
    return first_self_test(arena) != 0 || second_self_test(arena) != 0;
}
"""


def run(*command: str | Path, cwd: Path, more: Mapping[str, str] = {}, fails: bool = False) -> str:
    """What a command prints, errors last. It must succeed, or with `fails` fail."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MAKE", "CMAKE"))} | dict(more)
    done = subprocess.run([str(word) for word in command], cwd=cwd, check=False, capture_output=True, text=True, env=clean)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
