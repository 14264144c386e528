"""Options and fixtures that every test may use."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).parent))  # for zoo (networks) and here (what was not run)

# No deadline: a busy machine is no fault of the code. CI draws the same examples every time, so that it judges the change; a
# developer's machine draws new ones.
settings.register_profile("labc", deadline=None, derandomize=bool(os.environ.get("CI")), suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("labc")

GOLDEN = Path(__file__).parent / "golden"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a test that was skipped for want of a tool has failed; elsewhere its reason stands at the end of the log (-ra)."""
    report = yield
    if report.skipped and os.environ.get("CI") and "needs no tool" not in str(report.longrepr):
        report.outcome, report.longrepr = "failed", f"skipped in CI, which installs what it needs in .ci/run: {report.longrepr}"
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist sends its lists to the process that writes the log."""
    from here import KERNEL_CHECK, NOT_RUN

    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput |= {"kernel check": KERNEL_CHECK, "not run": NOT_RUN}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    from here import KERNEL_CHECK, NOT_RUN

    sent = getattr(node, "workeroutput", {})  # none of a worker that crashed
    KERNEL_CHECK.extend(sent.get("kernel check", ()))
    NOT_RUN.extend(sent.get("not run", ()))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    from here import KERNEL_CHECK, NOT_RUN

    if KERNEL_CHECK:
        terminalreporter.section("kernel check")
        for line in KERNEL_CHECK:
            terminalreporter.line(line)
    if NOT_RUN:
        terminalreporter.section("not run here")
        for line in dict.fromkeys(NOT_RUN):
            terminalreporter.line(line)
    seconds, tests = Counter[str](), Counter[str]()
    for report in (report for reports in terminalreporter.stats.values() for report in reports if isinstance(report, pytest.TestReport)):
        folder = report.nodeid.partition("::")[0].rpartition("/")[0]
        seconds[folder] += report.duration
        tests[folder] += report.when == "call"
    terminalreporter.section("time by folder, of all workers together")
    for folder, spent in seconds.most_common():
        terminalreporter.line(f"{folder:<16}{tests[folder]:6} tests{spent:8.0f} s")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden files instead of comparing with them")
    machines = "wheels (a C compiler and the wheels), some (also a firmware engineer's)"
    parser.addoption("--tools", choices=("wheels", "some"), help=f"run as on a machine with fewer tools: {machines}")
    parser.addoption(
        "--sweep", action="store_true", help="run the sweeps: what is marked `sweep`, and at greater length what is marked `wider`"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Before any test is imported: how many examples are drawn, and which tools there are, is asked there."""
    import breadth
    import tools

    breadth.SWEEP = bool(config.getoption("--sweep"))
    machine = config.getoption("--tools")
    if machine:
        os.environ.pop("CI", None)  # what is missing is not run here
        if not os.environ.get("PYTEST_XDIST_WORKER"):  # the workers inherit it
            tools.reduce_path(machine)


def pytest_unconfigure(config: pytest.Config) -> None:
    import tools

    if tools.MADE is not None:
        shutil.rmtree(tools.MADE)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A sweep takes what is marked `sweep` or `wider`, any other run what is not marked `sweep`; with --tools what may depend on them."""
    import tools

    def taken(item: pytest.Item) -> bool:
        if config.getoption("--tools") and item.nodeid.startswith(tools.SAME):
            return False
        sweep = next(item.iter_markers("sweep"), None) is not None
        return sweep or next(item.iter_markers("wider"), None) is not None if config.getoption("--sweep") else not sweep

    config.hook.pytest_deselected(items=[item for item in items if not taken(item)])
    items[:] = filter(taken, items)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with the whole golden file of that name, or write it under --update-golden."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
        assert path.exists(), f"{path} is missing; run pytest --update-golden and read what it writes"
        assert text == path.read_text(encoding="utf-8")

    return compare


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """once(name, make): a folder that `make` filled in one worker of pytest-xdist, while the others that ask for it wait."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base

    def made(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = shared / f"once-{name}", shared / f"once-{name}.done"
        with FileLock(shared / f"once-{name}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)  # of one that failed
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="session")
def trained_digits(once: Callable[[str, Callable[[Path], object]], Path]) -> Callable[[str], Any]:
    """trained_digits(method): what a short run of the recipe digits-mlp left, as its TrainResult; the same for every test."""

    def run(method: str) -> Any:
        from labc.train.recipes import TrainResult, run

        folder = once(f"digits-{method}", lambda folder: run("digits-mlp", method=method, epochs=3, out=folder / "new", progress=False))
        return TrainResult(**json.loads((folder / "new" / "train.json").read_text(encoding="utf-8")))

    return run


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(20170101)


@pytest.fixture
def digits_like(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A LAB2 network of the digits' size with random parameters, as a file."""
    import zoo

    return zoo.save(zoo.own(zoo.random_layers(rng, [64, 48, 33, 10])), tmp_path / "net.onnx")
