"""Run other programs: a few at a time, each with a time limit, and none left behind however this ends."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from labc.errors import NOT_HERE, LabcError

TIMEOUT_S = 120.0  # for one command; the slowest seen, zig's first link for a target, takes 4 s


def run(jobs: Sequence[tuple[str, Sequence[str]]], env: dict[str, str], fine: Sequence[int] = (0,)) -> list[str]:
    """Run each (place, command), a few at a time; what each wrote. The first that fails, in order, is a LabcError at its place.

    `fine`: the exit statuses that are no failure.

    However this ends, nothing it started is left running.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    waiting, answers = deque(jobs), list[str]()
    running: deque[tuple[str, Sequence[str], subprocess.Popen[bytes], IO[bytes], float]] = deque()
    with ExitStack() as ends:
        while waiting or running:
            while waiting and len(running) < cores:
                place, command = waiting.popleft()
                log = ends.enter_context(tempfile.TemporaryFile())
                process = _start(place, command, env, log)
                ends.callback(end, process)
                running.append((place, command, process, log, time.monotonic() + TIMEOUT_S))
            place, command, process, output, deadline = running.popleft()
            by_hand = f"by hand: {shlex.join(command)}"
            try:
                status = process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise LabcError(f"{place}: {Path(command[0]).name} did not end within {TIMEOUT_S:g} s and was stopped; {by_hand}") from None
            output.seek(0)
            answers.append(output.read().decode(errors="replace"))
            if status not in fine:
                raise LabcError(f"{place}: {_complaint(answers[-1], status)}; {by_hand}")
    return answers


def start(place: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a program that is talked to through its standard streams; whoever starts it ends it with `end`.

    Raises LabcError (NOT_HERE) if it does not start.
    """
    try:
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, start_new_session=True, bufsize=0)
    except OSError as error:
        raise LabcError(f"{place}: {command[0]} does not start ({error.strerror}); install it again", code=NOT_HERE) from error


def _start(place: str, command: Sequence[str], env: dict[str, str], output: IO[bytes]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    except OSError as error:
        remedy = "install it again or name another compiler"
        raise LabcError(f"{place}: {command[0]} does not start ({error.strerror}); {remedy}", code=NOT_HERE) from error


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and all of its group (a compiler driver has children)."""
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def _complaint(text: str, status: int) -> str:
    """The lines of a compiler's output that say what is wrong, five at most."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [
        line
        for line in lines
        if re.search(r"\berror\b|undefined|overflowed|truncated|defined nowhere|multiple definition|duplicate symbol", line)
    ] or lines
    return "\n  ".join(told[:5]) or f"the compiler ended with status {status} and said nothing"
