"""What this machine cannot run is said at the end of the test log, with the reason; in CI it is a failure."""

from __future__ import annotations

import os

import pytest

NOT_RUN: list[str] = []


def not_run_here(what: str, reason: str) -> None:
    """Note that `what` was not run because of `reason`. Fails the test where the environment says CI."""
    line = f"{what}: not run here ({reason})"
    if os.environ.get("CI"):
        pytest.fail(f"{line}; CI installs what it needs in .ci/run")
    NOT_RUN.append(line)
