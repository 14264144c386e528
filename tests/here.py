"""What the test log says at its end: the kernels that were checked, and what this machine cannot run, with the reason; in CI a failure."""

from __future__ import annotations

import os

import pytest

NOT_RUN: list[str] = []
KERNEL_CHECK: list[str] = []  # a line for each machine and compiler that all kernels were checked with


def not_run_here(what: str, reason: str) -> None:
    """Note that `what` was not run because of `reason`. Fails the test where the environment says CI."""
    line = f"{what}: not run here ({reason})"
    if os.environ.get("CI"):
        pytest.fail(f"{line}; CI installs what it needs in .ci/run")
    NOT_RUN.append(line)
