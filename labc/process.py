"""Run other programs: a few at a time, each with a time limit, and none left behind however this ends."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import IO

from labc.errors import NOT_HERE, LabcError

Process = subprocess.Popen[bytes]
TIMEOUT_S = 120.0  # for one command; the slowest seen, zig's first link for a target, takes 4 s


def run(jobs: Sequence[tuple[str, Sequence[str]]], env: dict[str, str], fine: Sequence[int] = (0,)) -> list[str]:
    """Run each (place, command), a few at a time; what each wrote. The first that fails, in order, is a LabcError at its place.

    `fine`: the exit statuses that are no failure.

    However this ends, nothing it started is left running.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    waiting, answers = deque(jobs), list[str]()
    running: deque[tuple[str, Sequence[str], Process, IO[bytes], float]] = deque()
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


@cache
def _starter(process: int) -> ThreadPoolExecutor:
    """The thread of this process that starts programs: Linux ends them with the thread that did, and the caller's may end early."""
    return ThreadPoolExecutor(1)


def start(place: str, command: Sequence[str], log: IO[bytes], *, talks: bool = False, network: socket.socket | None = None) -> Process:
    """Start a program that runs until `end` is called or, on Linux, this process ends however it may. Its standard error goes to `log`.

    `talks`: its standard input and output are pipes. `network`: a Unix socket; the program gets a network of its own and a socket in
    it is sent there, or, if the system does not allow that, the program ends (Linux only). Raises LabcError (NOT_HERE) if it does not
    start.
    """
    stream = subprocess.PIPE if talks else subprocess.DEVNULL
    tethered = sys.platform == "linux" and sys.executable
    door = network.fileno() if network else 0
    tether = [sys.executable, "-I", "-S", str(Path(__file__).with_name("tether.py")), str(os.getpid()), str(door)] if tethered else []
    try:
        return (
            _starter(os.getpid())
            .submit(
                subprocess.Popen,
                [*tether, *command],
                stdin=stream,
                stdout=stream,
                stderr=log,
                start_new_session=True,
                bufsize=0,
                pass_fds=[door] if door else [],
            )
            .result()
        )
    except OSError as error:
        raise LabcError(f"{place}: {command[0]} does not start ({error.strerror}); install it again", code=NOT_HERE) from error


def _start(place: str, command: Sequence[str], env: dict[str, str], output: IO[bytes]) -> Process:
    try:
        return subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    except OSError as error:
        remedy = "install it again or name another compiler"
        raise LabcError(f"{place}: {command[0]} does not start ({error.strerror}); {remedy}", code=NOT_HERE) from error


def end(process: Process) -> None:
    """Kill a process and all of its group (a compiler driver has children)."""
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()


def waited(process: Process, seconds: float) -> int | None:
    """The status that the process ends with, negative if a signal ends it; None if it has not ended within `seconds`."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def said(log: IO[bytes]) -> str:
    """The last line that a program wrote to `log`, while it may still write there."""
    size = os.fstat(log.fileno()).st_size
    text = os.pread(log.fileno(), 1000, max(0, size - 1000)).decode(errors="replace")  # moves no place that both share
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _complaint(text: str, status: int) -> str:
    """The lines of a compiler's output that say what is wrong, five at most."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = [
        line
        for line in lines
        if re.search(r"\berror\b|undefined|overflowed|truncated|defined nowhere|multiple definition|duplicate symbol", line)
    ] or lines
    return "\n  ".join(told[:5]) or f"the compiler ended with status {status} and said nothing"
