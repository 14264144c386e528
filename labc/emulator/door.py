"""A debugger's door that is a fixed port of this machine, as simavr has it."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from pathlib import Path

from labc.errors import LabcError

SECONDS = 60.0  # for the port to be free
_ANSWER_S = 30.0  # for somebody to answer there


class Door:
    """A connection to a fixed port of this machine, and the right to it: one process at a time, the others wait, and one image in each.

    Raises LabcError where the port is not free within `SECONDS`, or nobody answers there.
    """

    def __init__(self, port: int) -> None:
        import fcntl

        self._port, self._socket, deadline = port, socket.socket(), time.monotonic() + SECONDS
        lock = Path(tempfile.gettempdir(), f"labc-port-{port}-{os.getuid()}")
        try:
            self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)  # no link that somebody else put there
        except OSError as error:
            raise LabcError(f"{lock}: cannot be locked ({error.strerror}); remove it") from error
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                if time.monotonic() > deadline:
                    self.close()
                    raise LabcError(f"emulator: another simavr has port {port}; end it, or install qemu-system-misc") from None
                time.sleep(0.1)

    def open(self) -> None:
        """Connect. Raises LabcError if nobody answers within `_ANSWER_S`."""
        deadline = time.monotonic() + _ANSWER_S
        while self._socket.connect_ex(("127.0.0.1", self._port)) != 0:
            if time.monotonic() > deadline:
                raise LabcError(f"emulator: simavr does not answer on port {self._port}; is it used by another program?")
            self._socket.close()
            time.sleep(0.05)
            self._socket = socket.socket()

    def close(self) -> None:
        """Disconnect, and let the next one in; again does nothing."""
        self._socket.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def write(self, data: bytes) -> None:
        """Send all of it; OSError where nobody takes it."""
        self._socket.sendall(data)

    def fileno(self) -> int:
        """Its number, to read from and wait on."""
        return self._socket.fileno()
