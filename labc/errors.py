"""The one exception labc raises on purpose, and the exit codes of the command line."""

from __future__ import annotations

OK = 0  # done, and where something was checked: equal
FAILED = 1  # a check ran and found a difference
BAD_INPUT = 2  # a file, option or name that labc cannot work with
NOT_HERE = 3  # this machine lacks a tool that the work needs
INTERRUPTED = 130  # Ctrl-C


class LabcError(Exception):
    """Something the user can act on; its text names the place, the fact and the remedy.

    `code` is the exit code of the command line: BAD_INPUT unless the machine lacks a tool (NOT_HERE).
    """

    def __init__(self, message: str, *, code: int = BAD_INPUT) -> None:
        super().__init__(message)
        self.code = code
