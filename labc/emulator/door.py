"""A debugger's door that is a fixed port, as simavr has it."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import IO

from labc.errors import NOT_HERE, LabcError
from labc.process import Process, end, said, start
from labc.progress import tell

_ANSWER_S = 30.0  # for the program to listen; it takes 0.1 s
_LEFT_S = 2.0  # for a program that the system is ending to leave the port
_REMEDY = "install qemu-system-misc, which needs no port"
_here: set[int] = set()  # the ports that this process has


class Door:
    """`command`, which listens on `port`, and a connection to it; it says what is wrong in `log`.

    The program runs in a network of its own if the system allows that, so that any number run at once. Otherwise it has this machine's
    port, and one process of the machine at a time has it: the others wait, and say so. Raises LabcError (NOT_HERE) if the program does
    not listen, or if another program has the port.
    """

    def __init__(self, place: str, command: Sequence[str], port: int, log: IO[bytes]) -> None:
        self._port, self._lock, found = port, -1, inside(place, command, log)
        self._own = found is not None
        try:
            if found is None:
                self._socket = socket.socket()
                self._take()
                self.process = start(place, command, log)
            else:
                self.process, self._socket = found
            self._open(place, log)
        except BaseException:
            self.close()
            raise

    def _take(self) -> None:
        """Wait for the right to the port of this machine, and see that no stranger listens there."""
        if self._port in _here:
            why = f"port {self._port} serves one image at a time, and this process runs one"
            raise LabcError(f"emulator: {why}; {_REMEDY}", code=NOT_HERE)
        self._lock = _locked(self._port)
        _here.add(self._port)
        deadline = time.monotonic() + _LEFT_S
        while taken := _taken(self._port):
            if time.monotonic() > deadline:
                why = f"another program has port {self._port}, where simavr would listen ({taken})"
                raise LabcError(f"emulator: {why}; end it, or {_REMEDY}", code=NOT_HERE)
            time.sleep(0.05)

    def _open(self, place: str, log: IO[bytes]) -> None:
        deadline = time.monotonic() + _ANSWER_S
        while self._socket.connect_ex(("127.0.0.1", self._port)) != 0:
            ended = self.process.poll() is not None
            if ended or time.monotonic() > deadline:
                what = "ended at its start" if ended else f"does not listen on port {self._port}"
                raise LabcError(f"{place}: {what} ({said(log) or 'it says nothing'}); install it again", code=NOT_HERE)
            time.sleep(0.02)
            if not self._own:  # Linux, which alone has namespaces, tries again with the same socket; others may not
                self._socket.close()
                self._socket = socket.socket()

    def close(self) -> None:
        """End the program, and let the next process in; again does nothing."""
        if hasattr(self, "process"):
            end(self.process)
        self._socket.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
            _here.discard(self._port)

    def write(self, data: bytes) -> None:
        """Send all of it. Raises OSError if nobody takes it."""
        self._socket.sendall(data)

    def fileno(self) -> int:
        """Its number, to read from and wait on."""
        return self._socket.fileno()


def inside(place: str, command: Sequence[str], log: IO[bytes]) -> tuple[Process, socket.socket] | None:
    """`command` in a network of its own, and a socket in that network; None if the system allows none."""
    if sys.platform != "linux" or not sys.executable:
        return None
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = start(place, command, log, network=theirs)
        try:
            _, sockets, _, _ = socket.recv_fds(ours, 1, 1)  # nothing, if it ends
        except BaseException:
            end(process)
            raise
    if sockets:
        return process, socket.socket(fileno=sockets[0])
    end(process)
    log.seek(0)
    log.truncate()  # what another start says is told, not this
    return None


def _locked(port: int) -> int:
    """An open file that is locked as long as it is; all users of this machine lock the same one."""
    import fcntl

    path = Path("/tmp", f"labc-port-{port}")  # not TMPDIR, which differs
    try:
        try:
            lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            lock = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CREAT, 0o644)
            os.fchmod(lock, 0o644)  # whatever the umask
    except OSError as error:
        raise LabcError(f"{path}: cannot be locked ({error.strerror}); remove it", code=NOT_HERE) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _tell_waiting(port)
            fcntl.flock(lock, fcntl.LOCK_EX)
    except BaseException as error:
        os.close(lock)
        if isinstance(error, OSError):
            raise LabcError(f"{path}: cannot be locked ({error.strerror}); {_REMEDY}", code=NOT_HERE) from error
        raise
    return lock


@cache
def _tell_waiting(port: int) -> None:
    """Once: a check starts a hundred images."""
    tell(f"waiting for simavr's port {port}, which another labc has ({_REMEDY})")


def _taken(port: int) -> str | None:
    """None if a program may listen on the port; else the reason why not."""
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as simavr does
        try:
            trial.bind(("", port))
        except OSError as error:
            return error.strerror or str(error)
    return None
