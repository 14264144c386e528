"""The README's worked example runs as it stands: Python, shell and C, in order, in an empty folder."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from labc import toolchain
from labc.cli import main
from labc.flags import WARNINGS, machine_flags
from labc.target import TARGETS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_worked_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)  # on a busy machine a second thread costs so small a network more than it gives
    names: dict[str, object] = {}
    told: list[str] = []
    for language, text in re.findall(r"^```(python|sh|c)\n(.*?)^```", README, re.MULTILINE | re.DOTALL):
        if language == "python":
            exec(compile(text, "README.md", "exec"), names)
        elif language == "sh":
            run_labc(text)
        else:
            (tmp_path / "main.c").write_text(text)
        told.append(capsys.readouterr().out)
    train, checked, _, _, residual, proven = told
    for exported in (train, residual):
        assert "0 differ between torch and the file" in exported
    assert float(train.split()[-1]) > 0.85
    assert "16-bit activations against float ones: scores differ by at most" in residual
    for report in (checked, proven):
        assert "0 failed, 0 not run here" in report
    assert re.match(r"class \d, score -?0x", run_c())


def run_labc(commands: str) -> None:
    for line in commands.strip().splitlines():
        program, *arguments = shlex.split(line)
        assert program == "labc"
        assert main(arguments) == 0, line


def run_c() -> str:
    """What main.c prints, compiled with the README's command."""
    tools, host = toolchain.find(TARGETS["host"]), TARGETS["host"]
    (spelled,) = re.findall(r"^    cc (.*)$", README, re.MULTILINE)
    command = [*tools.cc, *machine_flags(tools, host), *WARNINGS, "-std=c11", *spelled.split()]
    subprocess.run(command, check=True)
    return subprocess.run(["./main"], check=True, capture_output=True, text=True).stdout


def test_the_tree_is_the_tree() -> None:
    for folder in re.findall(r"^    (\w+)/ {2,}", README, re.MULTILINE):
        assert (ROOT / folder).is_dir(), folder


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_documented_commands_exist() -> None:
    from labc.arguments import parser

    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for line in re.findall(r"^    labc (\w.*)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            parser().parse_args(shlex.split(re.split(r"\s{2,}", line)[0]))


def test_the_operator_list_is_the_readers() -> None:
    from labc.frontend.operators import OPERATORS

    limits = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    listed = re.search(r"## Operators read\n\n`(.*?)`\.", limits, re.DOTALL)
    assert listed is not None
    assert set(listed[1].split()) == {operator for _, operator in OPERATORS}
