"""Load a built host library and call it with NumPy arrays."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cffi
import numpy as np
from numpy.typing import NDArray

from labc import ABI
from labc.errors import NOT_HERE, LabcError

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
_ELEMENTS: dict[str, tuple[str, type[Any]]] = {"u8": ("uint8_t", np.uint8), "i8": ("int8_t", np.int8)}
# A feature of runtime/cpu.h → what Linux calls it in /proc/cpuinfo.
_FLAGS = {"POPCNT": "popcnt", "AVX2": "avx2", "AVX512": "avx512f avx512bw avx512vl", "VPOPCNTDQ": "avx512_vpopcntdq"}
_CPUINFO = Path("/proc/cpuinfo")
_MOST = 1 << 28  # values or bytes a manifest may claim


class Library:
    """A network in C, callable on arrays: `library(x)` gives the scores, `library.predict(x)` the classes.

    Threads may share one: it has one arena, so their calls take turns. Load it again for calls at the same time.
    `levels` are those between which a library for any x86-64 chooses, best first; another's are none.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        """Open the shared library that `manifest` describes. Raises LabcError where the two do not fit."""
        self.folder = folder
        self.manifest = manifest
        try:
            self.name = str(manifest["name"])
            element = manifest["input"]["element"]
            self.input_shape = tuple(int(extent) for extent in manifest["input"]["shape"])
            self.output_size = int(manifest["outputs"])
            arena_bytes, arena_align = int(manifest["arena"]["bytes"]), int(manifest["arena"]["align"])
            ctype, dtype = _ELEMENTS[element]
            files = dict(manifest["files"])
            self.levels = tuple(map(str, manifest.get("levels", {})))
            self._isas, needs = _words(manifest, "isas", ["scalar"]), _words(manifest, "needs", [])
        except (KeyError, TypeError, ValueError) as error:
            raise LabcError(f"{folder}: the manifest lacks or garbles {error}; build the library again") from error
        if manifest.get("abi", ABI) != ABI:
            raise LabcError(f"{folder}: has ABI version {manifest['abi']}, this labc calls version {ABI}; build the library again")
        self.input_dtype = np.dtype(dtype)
        self.input_size = int(np.prod(self.input_shape, dtype=object))
        sizes = (self.input_size, self.output_size, arena_bytes, arena_align)
        if not _NAME.fullmatch(self.name) or not all(0 < size <= _MOST for size in sizes):
            raise LabcError(f"{folder}: the manifest's name or sizes are not a library's; build the library again")
        binary = next((folder / p for p in sorted(files) if re.fullmatch(r"lib/[A-Za-z0-9_]+\.(so|dylib|dll)", p)), None)
        if binary is None and "package" in manifest:
            raise LabcError(f"{folder}: is a package, {manifest['package']}; build the library without --package")
        if binary is None:
            raise LabcError(f"{folder}: built for {manifest.get('target')}, not for this machine; build with --target host")
        if missing := _missing(() if self.levels else needs):
            remedy = "build it here, or with --target x86-64"
            raise LabcError(f"{folder}: built for a processor with {missing}, which this one lacks; {remedy}", code=NOT_HERE)
        functions = ["run", "predict", "self_test", *(("level", "force_level") if self.levels else ())]
        try:
            code = binary.read_bytes()
        except OSError as error:
            raise LabcError(f"{binary}: cannot be read ({error.strerror}); build the library again") from error
        try:
            if hashlib.sha256(code).hexdigest() != files[binary.relative_to(folder).as_posix()]:
                raise LabcError(f"{binary}: is not the file the manifest lists; build the library again")
            self.ffi = cffi.FFI()
            self.ffi.cdef(
                f"int {self.name}_run(const {ctype} *input, float *output, void *arena);"
                f"int {self.name}_predict(const {ctype} *input, void *arena);"
                f"int {self.name}_self_test(void *arena);"
                f"const char *{self.name}_level(void); int {self.name}_force_level(const char *level);"
            )
            # From a copy under a name of its own: for a path it knows, dlopen gives what it loaded there before.
            with tempfile.TemporaryDirectory(prefix="labc-load-", ignore_cleanup_errors=True) as place:
                copy = Path(place, binary.name)
                copy.write_bytes(code)
                self.lib = self._opened(binary, copy)
            for what in functions:
                self.function(what)
        except AttributeError as error:
            raise LabcError(f"{binary}: {error}; build the library again") from error
        self._pointer = self.ffi.typeof(f"const {ctype} *")
        raw = np.zeros(arena_bytes + arena_align, np.uint8)
        start = -raw.ctypes.data % arena_align
        self.arena = raw[start : start + arena_bytes]
        self._turn = threading.Lock()

    def _opened(self, binary: Path, copy: Path) -> Any:
        try:
            return self.ffi.dlopen(str(copy))
        except OSError as error:
            raise LabcError(f"{binary}: cannot be loaded on this machine ({error}); build the library here", code=NOT_HERE) from error

    def function(self, what: str) -> Any:
        """The C function NAME_`what`."""
        return getattr(self.lib, f"{self.name}_{what}")

    def pointer(self, x: NDArray[Any]) -> Any:
        """A C pointer to the input `x`, which must stay alive."""
        return self.ffi.cast(self._pointer, x.ctypes.data)

    def _batch(self, x: NDArray[Any]) -> NDArray[Any]:
        """`x` as [n, input size]. Raises LabcError for another dtype or shape."""
        x = np.asarray(x)
        if x.dtype != self.input_dtype:
            raise LabcError(
                f"{self.name}: the input is {x.dtype}, the network takes {self.input_dtype}; convert it (no scaling is implied)"
            )
        if x.shape[1:] not in (self.input_shape, (self.input_size,)):
            raise LabcError(
                f"{self.name}: the input has shape {list(x.shape)}, expected [n, {', '.join(map(str, self.input_shape))}]; reshape it"
            )
        return np.ascontiguousarray(x.reshape(len(x), self.input_size))

    def _call(self, code: int) -> int:
        if code < 0:
            raise LabcError(f"{self.name}: the library answered error {code}; build it again")
        return code

    def __call__(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Scores float32 [n, outputs] for inputs [n, *input shape] of the network's dtype. Raises LabcError for other inputs."""
        x = self._batch(x)
        scores = np.empty((len(x), self.output_size), np.float32)
        run, ffi = self.function("run"), self.ffi
        arena = ffi.cast("void *", self.arena.ctypes.data)
        with self._turn:
            for row, out in zip(x, scores, strict=True):
                self._call(run(self.pointer(row), ffi.cast("float *", out.ctypes.data), arena))
        return scores

    def predict(self, x: NDArray[Any]) -> NDArray[np.int32]:
        """Classes int32 [n]: the index of the largest score, the lowest on ties."""
        x = self._batch(x)
        predict, arena = self.function("predict"), self.ffi.cast("void *", self.arena.ctypes.data)
        with self._turn:
            return np.array([self._call(predict(self.pointer(row), arena)) for row in x], np.int32)

    def self_test(self) -> int:
        """0 if the golden vectors give the reference's bits, else the number of the first that does not."""
        with self._turn:
            return self._call(self.function("self_test")(self.ffi.cast("void *", self.arena.ctypes.data)))

    @property
    def level(self) -> str:
        """The level the library uses; the best ISA of its kernels where it has no choice."""
        return str(self.ffi.string(self.function("level")()).decode()) if self.levels else self._isas[0]

    def force_level(self, level: str | None) -> None:
        """Use one of `levels`, and no better; None: the best this processor has again.

        Raises LabcError where the library does not have it, and (NOT_HERE) where this processor does not run it.
        """
        if not self.levels and level is not None:
            raise LabcError(f"{self.name}: has one level, {self.level}; build with --target x86-64 for a choice")
        if level is not None and level not in self.levels:
            raise LabcError(f"{self.name}: level {level!r} not known; it has {', '.join(self.levels)}")
        with self._turn:
            if self.levels and self.function("force_level")(self.ffi.NULL if level is None else level.encode()):
                raise LabcError(f"{self.name}: this processor does not run level {level}; force another", code=NOT_HERE)


def _words(manifest: dict[str, Any], key: str, default: list[str]) -> tuple[str, ...]:
    """A list of texts in a manifest; only one whose default is empty may be empty. Raises ValueError for anything else."""
    found = manifest.get(key, default)
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found) or (default and not found):
        raise ValueError(key)
    return tuple(found)


def _missing(needs: Iterable[str]) -> str | None:
    """The first of a library's features that this processor lacks, or that is not known here; None where Linux does not tell."""
    try:
        text = _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    has = set(found[1].split()) if found else None
    return next((need for need in needs if has is not None and not has.issuperset(_FLAGS.get(need, need).split())), None)


def load(folder: Path | str) -> Library:
    """Load the library that `labc build --target host -o folder` wrote.

    Raises LabcError if there is no manifest, the library is for another machine, or its file is not the one that was built.
    """
    folder = Path(folder)
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise LabcError(f"{folder}: no manifest.json ({error.strerror}); name a folder that labc build wrote") from error
    except ValueError as error:
        raise LabcError(f"{folder}: manifest.json is not JSON; build the library again") from error
    if not isinstance(manifest, dict):
        raise LabcError(f"{folder}: manifest.json is no manifest; build the library again")
    return Library(folder, manifest)
