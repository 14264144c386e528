"""Who may import whom. The tables are the architecture's own (docs/architecture.md); any other edge fails."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "labc"

# module or folder of labc → what of labc it may import (everyone may import errors).
ALLOWED: dict[str, set[str]] = {
    "__init__": {"driver", "library"},  # lazily: PEP 562
    "errors": set(),
    "resources": set(),
    "ir": set(),
    "passes": {"ir"},
    "reference": {"ir"},
    "frontend": {"ir"},
    "bits": set(),
    "target": set(),
    "board": {"resources", "target"},
    "kernels": {"resources"},
    "plan": {"ir", "kernels", "target", "bits"},
    "naming": {"kernels", "resources"},
    "golden": {"ir", "plan", "reference"},
    "emit": {"plan", "kernels", "resources", "__version__", "ABI"},
    "process": set(),
    "tether": set(),
    "candidates": set(),
    "cache": set(),
    "flags": {"kernels", "target"},
    "compiling": {"cache", "flags", "process", "target"},
    "image": {"candidates", "compiling", "flags", "process", "resources", "target"},
    "toolchain": {"candidates", "compiling", "flags", "image", "kernels", "resources", "target"},
    "package": {"candidates", "emit", "flags", "kernels", "plan", "resources", "target", "__version__"},
    "linked": {"compiling", "flags", "image", "target"},
    "build": {"compiling", "flags", "target", "__version__"},
    "library": {"ABI"},
    "elf": set(),
    "decode": set(),
    "cycles": {"decode", "resources", "target"},
    "emulator": {"compiling", "decode", "elf", "process", "progress", "resources", "target", "toolchain"},
    "check": {
        "ir", "passes", "reference", "plan", "bits", "toolchain", "compiling", "flags", "kernels", "resources", "target", "library",
        "linked", "image", "elf", "emulator", "cycles",
    },
    "bench": {"compiling", "flags", "ir", "kernels", "library", "plan", "target", "resources"},
    "report": {"ir", "frontend", "check", "bench", "cycles"},
    "doctor": {"cache", "candidates", "flags", "target", "toolchain", "emulator"},
    "driver": {
        "ir", "passes", "frontend", "naming", "golden", "plan", "emit", "package", "build", "board", "target", "compiling",
        "flags", "toolchain", "check", "ABI",
    },
    "progress": set(),
    "running": {"driver", "emit", "flags", "library", "plan", "check"},
    "trial": {
        "driver", "flags", "ir", "passes", "plan", "board", "toolchain", "emulator", "check", "bench", "report", "running",
        "progress",
    },
    "timing": {
        "driver", "ir", "emit", "target", "toolchain", "library", "check", "bench", "report", "progress",
    },
    "boards": {"board", "check", "cycles", "driver", "emulator", "plan", "progress", "report", "toolchain", "trial"},
    "arguments": {"__version__", "board"},
    "cli": {"arguments", "cache", "driver", "trial", "timing", "report", "doctor", "boards", "package", "progress", "train"},
    "train": {"process"},
    "demo": {"cli"},
}  # fmt: skip

# third party → the modules that may import it.
THIRD: dict[str, set[str]] = {
    "onnx": {"frontend", "train/export", "train/spelling"},
    "google": {"frontend"},  # protobuf's DecodeError
    "jinja2": {"emit"},
    "cffi": {"library", "bench"},
    "onnxruntime": {"check/referee"},
    "unicorn": {"emulator/unicorn"},
    "wasmtime": {"emulator/wasm"},
    "elftools": {"elf", "emulator/qemu"},
    "rich": {"cli", "report", "doctor", "boards", "demo", "train"},
    "torch": {"train"},
    "pytorch_lightning": {"train"},
    "sklearn": {"train"},
    "scipy": {"train"},
    "pooch": {"train"},
    "subprocess": {"process"},
    "pickle": {"train/recipes/checkpoints"},  # for the name of an exception; nothing is unpickled but by torch with weights_only=True
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def edges(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" if node.module == "labc" else str(node.module) for alias in node.names}
    return found


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_follow_the_architecture(path: Path) -> None:
    own = room(path)
    assert own in ALLOWED, f"{own} is a new room; say in the architecture what it may import"
    place = str(path.relative_to(PACKAGE).with_suffix(""))
    for edge in edges(path):
        head, *rest = edge.split(".")
        if head == "labc":
            assert not rest or rest[0] in ALLOWED[own] | {own, "errors"}, f"{place} may not import {edge}"
        elif head in THIRD:
            assert own in THIRD[head] or place in THIRD[head], f"{place} may not import {edge}"


def test_every_room_exists() -> None:
    assert {room(path) for path in modules()} == set(ALLOWED)


def loaded(code: str) -> set[str]:
    run = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint('MODULES', *sys.modules, file=sys.stderr)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(run.stderr.rsplit("MODULES", 1)[1].split())


def test_help_loads_nothing_heavy() -> None:
    found = loaded("from labc.cli import main\ntry: main(['build', '--help'])\nexcept SystemExit: pass")
    assert "labc.cli" in found
    assert not found & {"numpy", "torch", "onnx", "rich", "jinja2", "cffi"}


def test_build_and_check_never_load_torch(digits_like: Path, tmp_path: Path) -> None:
    found = loaded(
        f"from labc.cli import main\nassert main(['build', {str(digits_like)!r}, '-o', {str(tmp_path / 'out')!r}]) == 0\n"
        f"assert main(['check', {str(digits_like)!r}, '--samples', '20']) == 0"
    )
    assert "labc.driver" in found
    assert not found & {"torch", "pytorch_lightning", "labc.train"}
