"""Is it equal? Layers IR = machine IR = library on every target, bit for bit; three verdicts, never two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["passed", "failed", "not run here"]


@dataclass(frozen=True)
class Verdict:
    """One thing that was checked, and how it ended; `detail` says what exactly, or the reason it was not run."""

    what: str
    status: Status
    detail: str


def equal(what: str, differences: int, detail: str, where: str = "") -> Verdict:
    """Passed if there are no differences; else failed, with `where` the first one is."""
    return Verdict(what, "failed", f"{differences} differ; first: {where}") if differences else Verdict(what, "passed", detail)
