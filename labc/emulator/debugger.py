"""An emulator behind its door for debuggers (GDB manual, "Remote Protocol"): memory, registers, and on to a breakpoint."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from labc.emulator.call import EmulatorLost
from labc.emulator.door import Door
from labc.errors import LabcError
from labc.process import end, said, start, waited

PROGRAM_ENDED = 240  # the least exit status by which a program of runtime/image ends the emulator it runs in
_STEP_S = 30.0  # for an answer, while nothing runs
_END_S = 5.0  # for a program that has closed its connection to end


class Debugger:
    """`program` with `options` and the file of the image, waiting at its first instruction.

    `words`: more arguments, behind the file's name. `port`: where it answers; 0: on standard input and output. `packet`: bytes of memory
    that it takes in one packet. `data`: what it adds to an address of data. Raises LabcError if it cannot be started or reached; any
    method raises EmulatorLost, which names `place`, if the program ends or goes silent.
    """

    def __init__(self, program: str, options: Sequence[str], image: bytes, words: Sequence[str], port: int, packet: int, data: int) -> None:
        self._program, self._packet, self._rest = program, packet, b""
        self._data = data
        self._door: Door | None = None
        self._file: Path | None = None
        self._open = True
        self.place = "emulator"  # the function that was called last
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (`close` closes it)
        try:
            with tempfile.NamedTemporaryFile(suffix=".elf", delete=False) as file:
                self._file = Path(file.name)
                file.write(image)
            command = [shutil.which(program) or program, *options, str(self._file), *words]
            if port:
                self._door = Door(program, command, port, self._log)
                self._process = self._door.process
            else:
                self._process = start(program, [*command, "-S", "-gdb", "stdio"], self._log, talks=True)
        except BaseException:
            self.close()
            raise

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """End the emulator; again does nothing."""
        self._open = False
        if hasattr(self, "_process"):
            end(self._process)
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
        if self._door:
            self._door.close()
        if hasattr(self, "_log"):
            self._log.close()
        if self._file:
            self._file.unlink(missing_ok=True)

    def kill(self) -> None:
        """Have the emulator end by itself, so that its plugins write what they found."""
        self._send("k")
        if waited(self._process, _STEP_S) is None:
            raise self._lost(f"went on for {_STEP_S:g} s", 0)
        self.close()

    def write(self, address: int, data: bytes) -> None:
        """Put `data` at `address`; LabcError if not all of it is memory."""
        for i in range(0, len(data), self._packet):
            piece = data[i : i + self._packet]
            self._memory(f"M{address + i + self._data:x},{len(piece):x}:{piece.hex()}", address, len(data))

    def read(self, address: int, nbytes: int) -> bytes:
        """The `nbytes` bytes at `address`; LabcError if not all of it is memory."""
        found = b""
        while len(found) < nbytes:
            n = min(self._packet, nbytes - len(found))
            found += bytes.fromhex(self._memory(f"m{address + len(found) + self._data:x},{n:x}", address, nbytes))
        return found

    def _memory(self, words: str, address: int, nbytes: int) -> str:
        answer = self.ask(words)
        if re.fullmatch(r"E..", answer):
            raise LabcError(f"emulator: {nbytes} bytes at {address:#x} are not all memory; use alloc")
        return answer

    def register(self, number: int) -> bytes:
        """What the register holds, in the core's order of bytes."""
        return bytes.fromhex(self.ask(f"p{number:x}"))

    def set(self, number: int, value: int, nbytes: int) -> None:
        """Put `value` into a register of `nbytes` bytes, lowest first."""
        if self.ask(f"P{number:x}={value.to_bytes(nbytes, 'little').hex()}") != "OK":
            raise LabcError(f"emulator: {self._program} does not set register {number}; install one of version 7 or later")

    def stop_at(self, address: int) -> None:
        """Set a breakpoint."""
        if self.ask(f"Z0,{address:x},2") != "OK":
            raise LabcError(f"emulator: {self._program} sets no breakpoint; install one of version 7 or later")

    def go(self, seconds: float) -> str:
        """On to the next stop: nothing at a breakpoint, else the answer. TimeoutError if there is none within `seconds`."""
        self._send("c")
        answer = self._answer(seconds)
        return "" if answer[:1] in ("T", "S") and answer[1:3] == "05" else answer

    def ask(self, words: str) -> str:
        """The answer to a packet."""
        self._send(words)
        try:
            return self._answer(_STEP_S)
        except TimeoutError:
            raise self._lost(f"was silent for {_STEP_S:g} s", 0) from None

    def _send(self, words: str) -> None:
        if not self._open:
            raise EmulatorLost(self.place, self._program, "has ended already")
        try:
            self._write(f"${words}#{sum(words.encode()) & 0xFF:02x}".encode())
        except OSError as error:
            raise self._lost(f"closed its connection ({error.strerror})") from error

    def _answer(self, seconds: float) -> str:
        """The next packet; TimeoutError after `seconds`."""
        stdout = self._door or self._process.stdout
        assert stdout is not None
        deadline = time.monotonic() + seconds
        while (found := re.search(rb"\$([^#]*)#[0-9a-f]{2}", self._rest)) is None:
            if not select.select([stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError
            try:
                piece = os.read(stdout.fileno(), 1 << 16)
            except OSError as error:  # a connection that is reset
                raise self._lost(f"closed its connection ({error.strerror})") from error
            if not piece:
                return self._farewell()
            self._rest += piece
        self._rest = self._rest[found.end() :]
        with contextlib.suppress(OSError):  # it may be gone once it has said that the program ended
            self._write(b"+")
        return found[1].decode("latin-1")

    def _farewell(self) -> str:
        """The packet that stands for the end of the emulator, if the program of the image ended it: on RISC-V it sends none."""
        status = waited(self._process, _END_S)
        if status is None or status < PROGRAM_ENDED:
            raise self._lost("closed its connection")
        return f"W{status:02x}"

    def _lost(self, what: str, seconds: float = _END_S) -> EmulatorLost:
        """The error for an emulator that can be used no more, and its end; it may take `seconds` to end by itself."""
        status = waited(self._process, seconds)
        if status is not None:
            what = f"was ended by signal {-status} ({signal.Signals(-status).name})" if status < 0 else f"ended with status {status}"
        words = said(self._log)
        self.close()
        return EmulatorLost(self.place, self._program, f"{what} before it answered" + (f": {words}" if words else ""))

    def _write(self, data: bytes) -> None:
        stdin = self._door or self._process.stdin
        assert stdin is not None
        stdin.write(data)
