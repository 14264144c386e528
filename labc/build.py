"""Source tree → library on disk. The one writer of output: beside the wanted folder, then swapped in."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from labc import __version__
from labc.compiling import archive, compile_objects, link_shared, shared_name
from labc.errors import LabcError
from labc.flags import Toolchain, compile_flags, isa_flags, machine_flags
from labc.target import Target

MANIFEST = "manifest.json"
FORMAT = 1  # of the manifest

P = ParamSpec("P")
T = TypeVar("T")


def build(
    tree: Mapping[str, str],
    facts: Mapping[str, Any],
    target: Target,
    toolchain: Toolchain,
    out: Path,
    look: Callable[[Path], Mapping[str, Any]] = lambda place: {},
) -> Path:
    """Compile `tree` (path → text; sources under src/, headers under include/) into `out`; `out` as it was until all is done.

    `facts` go into the manifest as they are: at least `name`; and so does what `look` finds in the folder, when all but the manifest is
    there; it may add files, and by an exception it refuses the whole.
    Raises LabcError if `out` exists and labc did not make it, if it cannot be written, or if the compiler complains.
    """
    name = str(facts["name"])
    with swapped(out) as place:
        _attempt(out, write, place, tree)
        _attempt(out, (place / "lib").mkdir)
        objects_dir = place / "objects"
        sources = sorted((place / "src").glob("*.c"))
        objects = compile_objects(toolchain, target, sources, [place / "include", place / "src"], objects_dir)
        archive(toolchain, objects, place / "lib" / f"lib{name}.a")
        if target.cpu is None:
            link_shared(toolchain, target, objects, place / "lib" / shared_name(name))
        _attempt(out, shutil.rmtree, objects_dir)
        found = look(place)
        manifest = {
            "labc": __version__,
            "format": FORMAT,
            **facts,
            **_where(target),
            "compiler": {"name": toolchain.name, "version": toolchain.version},
            "flags": list(compile_flags(toolchain, target)),
            "machine_flags": list(machine_flags(toolchain, target)),
            "file_flags": {f"src/{s.name}": list(flags) for s in sources if (flags := isa_flags(s))},
            "files": {str(p.relative_to(place).as_posix()): sha256(p) for p in sorted(place.rglob("*")) if p.is_file()},
        }
        manifest |= found
        _attempt(out, write, place, {MANIFEST: json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"})
    return out


def store(files: Mapping[str, str | bytes], facts: Mapping[str, Any], target: Target, out: Path) -> Path:
    """Write a package's `files` and a manifest with `facts` into `out`, as it was until all is done. Raises LabcError as `build`."""
    with swapped(out) as place:
        _attempt(out, write, place, files)
        listed = {path: sha256(place / path) for path in sorted(files)}
        manifest = {"labc": __version__, "format": FORMAT, **facts, **_where(target), "files": listed}
        _attempt(out, write, place, {MANIFEST: json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"})
    return out


def _where(target: Target) -> dict[str, Any]:
    return {"target": target.name, "board": target.board, "cpu": target.cpu, "float_abi": target.float_abi}


def write(folder: Path, tree: Mapping[str, str | bytes]) -> None:
    """Write texts and bytes at relative paths below `folder`."""
    for path, content in tree.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))


@contextmanager
def swapped(out: Path) -> Iterator[Path]:
    """A folder beside `out` to fill; it takes `out`'s place at the end, or vanishes if anything fails on the way.

    Links are followed: a link stays one, and the folder it names is replaced. What is raised while it is filled comes out as it is.
    """
    try:
        out, here = out.resolve(), Path.cwd()
    except (OSError, RuntimeError) as error:  # the current folder is gone; before Python 3.13, links that lead in a circle
        raise LabcError(f"{out}: cannot be written ({error}); name another folder with -o") from error
    there = _attempt(out, out.exists)
    if there and (reason := _not_ours(out)):
        raise LabcError(f"{out}: {reason}; name another folder with -o, or remove it")
    if there and here.is_relative_to(out):
        raise LabcError(f"{out}: is the folder you are in, and would be replaced; name another folder with -o")
    made = [parent for parent in out.parents if not parent.exists()]  # innermost first
    place = _attempt(out, _beside, out)
    try:
        yield place
        _attempt(out, _swap, place, out)
    finally:
        shutil.rmtree(place, ignore_errors=True)
        if not out.exists():
            for parent in made:
                with contextlib.suppress(OSError):  # somebody else put something there meanwhile
                    parent.rmdir()


def _attempt(out: Path, action: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> T:
    """What an action gives that does nothing but write to what becomes `out`. Raises LabcError if it cannot."""
    try:
        return action(*arguments, **more)
    except OSError as error:
        raise LabcError(f"{out}: cannot be written ({error.strerror or error}); name another folder with -o") from error


def _beside(out: Path) -> Path:
    """A new folder next to `out`, with the permissions of an ordinary one."""
    out.parent.mkdir(parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    place.chmod(0o777 & ~_umask())  # mkdtemp's is for the owner alone
    return place


def _swap(place: Path, out: Path) -> None:
    """Put `place` where `out` is, which stays if that fails."""
    old = place.with_name(place.name + ".old")
    if out.exists():
        out.rename(old)
    try:
        place.rename(out)
    except OSError:
        if old.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _not_ours(out: Path) -> str | None:
    """None if `out` may be replaced, being an empty folder or one that labc wrote and nobody added to; else the reason why not."""
    strange = "exists and was not made by labc"
    try:
        if out.is_dir() and not any(out.iterdir()):
            return None
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        if "labc" not in manifest:
            return strange
        listed = {MANIFEST, *manifest["files"]}
        inside = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_symlink() or not p.is_dir()}
    except (OSError, ValueError, TypeError, KeyError):
        return strange
    added = min(inside - listed, default=None)
    return f"holds {added}, which labc did not write" if added else None


def sha256(path: Path) -> str:
    """The file's sha256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
