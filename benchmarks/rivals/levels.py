"""Run programs as on a lesser CPU: compiles the preload library hide.c and the probe that shows what a program then sees."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labc import target, toolchain
from labc.flags import Toolchain
from labc.process import run

HERE = Path(__file__).parent
TIERS = {"AVX2": 0, "AVX512": 1, "NATIVE": 2}  # as in features.def
LEVELS = {"native": 2, "avx512": 1, "avx2": 0}  # the highest tier that programs may see
SHOWN = {"native": "all of this CPU", "avx512": "AVX-512 with its extensions, no AMX", "avx2": "AVX2, no AVX-512, no VNNI, no AMX"}


class NotHere(Exception):  # noqa: N818 - it is an answer, not an error
    """This machine cannot do it; the text is the reason."""


@dataclass(frozen=True)
class Level:
    """What to add to the environment of programs, the features they see then, and how that came about."""

    name: str
    environment: dict[str, str]
    features: tuple[str, ...]
    how: str


def prepare(name: str, build: Path) -> Level:
    """Make and prove the level `name` in the folder `build`. Raises NotHere with the reason, LabcError if no compiler works."""
    if platform.machine() not in ("x86_64", "AMD64"):
        if name != "native":
            raise NotHere(f"{name} is a level of x86-64, this machine is {platform.machine()}")
        return Level(name, {}, (), "nothing hidden")
    tools = toolchain.find(target.find("host"))
    probe, hide = build / "probe", build / "libhide.so"
    _compile(tools, ["-O2"], "probe.c", probe)
    seen = _seen(probe, {})
    allowed = tuple(feature for feature, tier in seen.items() if tier <= LEVELS[name])
    if name != "native" and not allowed:
        raise NotHere("this CPU has no AVX2")
    if len(allowed) == len(seen):
        return Level(name, {}, allowed, "nothing hidden" if name == "native" else "nothing hidden: this CPU has nothing above this level")
    if sys.platform != "linux":
        raise NotHere(f"CPUID faulting is asked of Linux, this is {sys.platform}")
    if any(sign in str(hide) for sign in " :"):
        raise NotHere(f"LD_PRELOAD takes no path with a space or a colon ({hide}); name another folder with --build")
    _compile(tools, ["-O2", "-shared", "-fPIC"], "hide.c", hide)
    preload = " ".join(filter(None, (str(hide), os.environ.get("LD_PRELOAD"))))
    environment = {"LD_PRELOAD": preload, "HIDE_ABOVE": name}
    left = tuple(_seen(probe, environment))
    if left != allowed:
        raise NotHere(f"the mask shows {' '.join(left)} where it should show {' '.join(allowed)}")
    return Level(name, environment, left, "hidden by CPUID faulting, proved by a probe")


def _compile(tools: Toolchain, flags: Sequence[str], source: str, out: Path) -> None:
    run([(source, [*tools.cc, "-std=c11", *flags, str(HERE / source), "-o", str(out)])], dict(os.environ))


def _seen(probe: Path, environment: dict[str, str]) -> dict[str, int]:
    """The features CPUID shows to a program in this environment, each with its tier."""
    done = subprocess.run([probe.resolve()], env=os.environ | environment, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise NotHere(done.stderr.strip().removeprefix("libhide: ") or f"the probe ended with status {done.returncode}")
    pairs = (line.split() for line in done.stdout.splitlines())
    return {feature: TIERS[tier] for feature, tier in pairs}
