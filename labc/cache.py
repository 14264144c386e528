"""Compiled objects, kept by content in the user's cache folder, so that each source is compiled once per compiler and flags.

The key of an object is a hash of everything that goes into it: the compiler's identity, its flags, the source, and every file the source
includes, directly or not. The compiler's own headers are checked by size and time of change when an object is taken. So a build from the
cache has the same bytes as one without.

Any number of processes may share the folder: an object appears whole, by a rename, and one that another process removed is compiled
again. No more than `LIMIT` bytes are kept; the objects not used for the longest time go first.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from labc.errors import LabcError

LIMIT = 256 << 20  # bytes of objects; a whole kernel check takes 1 MiB per compiler
_SHARDS = 16  # by the first digit of the key, so that trimming looks at a sixteenth of the objects
_SHARE = LIMIT // _SHARDS
_LARGEST = _SHARE // 8  # a larger object, the constants of a large network, is not worth what it would displace
_FORMAT = "2"  # of keys and entries

# What makes an object depend on more than the contents of its files.
_UNKEPT = re.compile(rb"__(DATE|TIME|TIMESTAMP|FILE|BASE_FILE)__|__has_include|\.inc(bin|lude)|#\s*embed\b")
_INCLUDE = re.compile(rb"^[ \t]*(?:#|%:|\?\?=)[ \t]*(?:include|include_next|import)\b[ \t]*(?:([\"<])([^\">]+)[\">])?", re.MULTILINE)
_SPLICE, _COMMENT = re.compile(rb"\\\r?\n"), re.compile(rb"/\*.*?\*/", re.DOTALL)
# A caller's flags that change an object by their own text alone: they read and write no other file and do not look at the processor. And
# those that put the names of folders into it.
_PLAIN = re.compile(
    r"-D(?!.*__)\w+(=\w+)?|-D__riscv_\w+(=\w+)?|-O\w?|-std=[\w+]+|-W[a-z0-9-]+(=\w+)?|-g|-m(?!.*native)[a-z0-9.=+-]+"
    r"|-f(?!plugin|profile|auto-profile|stack-usage|test-coverage|module|dump|save|callgraph)[a-z0-9-]+(=[a-z,-]+)?"
)
_NAMING = re.compile(r"-g(?!0$)|-fsanitize")


@dataclass(frozen=True)
class Usage:
    """What one folder of the cache holds: how many files, of how many bytes in all, and the most it may hold (None: no limit)."""

    name: str
    folder: Path
    files: int
    bytes: int
    limit: int | None


def user_folder(name: str) -> Path | None:
    """labc's folder of that name in the user's cache folder, made if need be; None if there is no home, or it cannot be written."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        folder = (base if base.is_absolute() else Path.home() / ".cache") / "labc" / name
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # RuntimeError: no home
        return None


def only_ours(folder: Path) -> bool:
    """Whether nobody else may put files into a folder: what lies there ends in the user's library."""
    if not hasattr(os, "getuid"):
        return True
    facts = folder.lstat()
    return stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.getuid() and not facts.st_mode & 0o022


class ObjectCache:
    """The objects of one compiler. `compiler` is its identity, texts that change when it does; without one nothing is kept."""

    def __init__(self, compiler: Sequence[str]) -> None:
        folder = user_folder("objects")
        self._folder = folder if compiler and folder is not None and only_ours(folder) else None
        self._compiler = compiler
        self._grown: set[Path] = set()
        self._closures: dict[str, set[Path]] = {}

    def key(self, source: Path, folders: Sequence[Path], flags: Sequence[str], extra: Sequence[str]) -> str | None:
        """The key of the object of `source`; None if it may not be kept.

        `folders`: those searched for headers, in order. `flags`: all flags but those that name a folder; `extra` among them are the
        caller's, of which some, such as -include, name files that are not looked into.
        """
        if self._folder is None or not all(_PLAIN.fullmatch(flag) for flag in extra) or any("native" in flag for flag in flags):
            return None
        digest = hashlib.sha256()
        named = [str(Path.cwd()), str(source.parent), *map(str, folders)] if any(map(_NAMING.match, flags)) else []
        for text in (_FORMAT, *self._compiler, "", *flags, "", *named, "", source.name):
            digest.update(text.encode("utf-8", "surrogateescape") + b"\0")
        closure: set[Path] = set()
        try:
            whole = all(_add(digest, content) for content in _closure(source, folders, closure))
        except OSError:  # the compiler will say what is wrong with it
            return None
        self._closures[digest.hexdigest()] = closure
        return digest.hexdigest() if whole else None

    def take(self, key: str, out: Path, folders: Sequence[Path]) -> bool:
        """Write the object `key` to `out`, if it is kept, whole, and made from the compiler's headers as they are now.

        `folders`: as of `key`; a file there may hide one of these headers from another.
        """
        entry = self._entry(key)
        try:
            head, _, content = entry.read_bytes().partition(b"\n")
            facts = json.loads(head)
            if hashlib.sha256(content).hexdigest() != facts["sha256"] or facts["headers"] != fingerprints(facts["headers"]):
                return False
            names = {name for path in facts["headers"] for name in (Path(path).name, "/".join(Path(path).parts[-2:]))}
            if any((folder / name).exists() for folder in folders for name in names):
                return False
            os.utime(entry)  # it was used now
        except (OSError, ValueError, KeyError, TypeError):  # not kept, removed meanwhile, or damaged
            return False
        out.write_bytes(content)
        return True

    def keep(self, key: str, built: Path, depends: Path | None, folders: Sequence[Path]) -> None:
        """Keep the object `built`; a full disk keeps nothing.

        `depends`: the list of files, as `make` has it, that the compiler read; None if its own headers change with its identity alone.
        """
        entry, temporary = self._entry(key), None
        self._grown.add(entry.parent)
        try:
            content, closure = built.read_bytes(), self._closures.get(key, set())
            read = _listed(depends) if depends else set()
            if len(content) > _LARGEST or any(path.parent in folders and path not in closure for path in read):
                return  # too large, or it has a file that `key` did not look into
            headers = fingerprints(sorted(str(path) for path in read - closure))
            facts = {"sha256": hashlib.sha256(content).hexdigest(), "headers": headers}
            entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=entry.parent, prefix=".", delete=False) as file:
                temporary = Path(file.name)
                file.write(json.dumps(facts).encode() + b"\n" + content)
            temporary.replace(entry)
        except OSError:
            if temporary is not None:
                temporary.unlink(missing_ok=True)

    def trim(self) -> None:
        """Remove what is too much in the folders that `keep` put something into."""
        while self._grown:
            _trim(self._grown.pop())

    def _entry(self, key: str) -> Path:
        assert self._folder is not None  # else there is no key
        return self._folder / key[0] / key


def fingerprints(paths: Sequence[str] | dict[str, list[int]]) -> dict[str, list[int]]:
    """Size and time of change of each file. Raises OSError if one is not there."""
    facts = {path: os.stat(path) for path in paths}  # noqa: PTH116 (a hundred headers: Path would double the time)
    return {path: [fact.st_size, fact.st_mtime_ns] for path, fact in facts.items()}


def usage() -> list[Usage]:
    """What the cache holds: labc's objects, and what zig compiled for itself."""
    found = []
    for name, limit in (("objects", LIMIT), ("zig", None)):
        if folder := user_folder(name):
            sizes = [fact.st_size for _, fact in _files(folder)]
            found.append(Usage(name, folder, len(sizes), sum(sizes), limit))
    return found


def clear() -> list[Usage]:
    """Remove all that the cache holds; what was removed. Raises LabcError if something is left."""
    held = usage()
    for one in held:
        shutil.rmtree(one.folder, ignore_errors=True)  # what another process writes there meanwhile stays
    if left := [one for one in usage() if one.files]:
        raise LabcError(f"{left[0].folder}: {left[0].files} files could not be removed; end other labc processes, or remove the folder")
    return held


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # removed meanwhile
            fact = path.lstat()
            if not path.is_dir():
                yield path, fact


def _trim(shard: Path) -> None:
    """Remove the objects of a shard that were not used for the longest time, down to nine tenths of its share."""
    files = list(_files(shard))
    held = sum(fact.st_size for _, fact in files)
    if held <= _SHARE:
        return
    for path, fact in sorted(files, key=lambda file: file[1].st_mtime_ns):
        with contextlib.suppress(OSError):  # removed meanwhile
            path.unlink()
        held -= fact.st_size
        if held <= _SHARE * 9 // 10:
            return


def _add(digest: hashlib._Hash, content: tuple[str, bytes | None]) -> bool:
    """Add one file, under the name it is included by; whether the object may be kept as far as this file goes."""
    name, text = content
    digest.update(f"{name}\0{'' if text is None else len(text)}\0".encode("utf-8", "surrogateescape"))
    if text is None:
        return True
    digest.update(text)
    # An #include of a macro could be of any file.
    return not _UNKEPT.search(text) and all(mark for mark, _ in _includes(text))


def _includes(text: bytes) -> list[tuple[bytes, bytes]]:
    """The mark and name of each #include, also of one after a comment or on several lines; no mark if it is of a macro."""
    found = _INCLUDE.findall(text)
    return found + [one for one in _INCLUDE.findall(_COMMENT.sub(b" ", _SPLICE.sub(b"", text))) if one not in found]


def _closure(source: Path, folders: Sequence[Path], seen: set[Path]) -> Iterator[tuple[str, bytes | None]]:
    """Each file that `source` may include, once: its name as spelled, and its text; None for one that only the compiler can find.

    Conditions are not evaluated, so that there may be more files than the compiler reads. The paths are added to `seen`.
    """
    waiting = [("", source)]
    seen.add(source)
    while waiting:
        name, path = waiting.pop()
        text = path.read_bytes()
        yield name, text
        for mark, spelled in _includes(text):
            if not mark:
                continue
            name = os.fsdecode(spelled)
            places = [path.parent, *folders] if mark == b'"' else folders
            found = next((place / name for place in places if (place / name).is_file()), None)
            yield f"{path.name} {name}", None
            if found is not None and found not in seen:
                seen.add(found)
                waiting.append((name, found))


def _listed(depends: Path) -> set[Path]:
    """The files of a list for `make`."""
    _, _, words = depends.read_text(encoding="utf-8", errors="surrogateescape").replace("\\\n", " ").partition(": ")
    return {Path(re.sub(r"\\([ #])", r"\1", word).replace("$$", "$")) for word in re.findall(r"(?:\\[ #]|\S)+", words)}
