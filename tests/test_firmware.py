"""docs/firmware.md is true: its commands run in order in an empty folder, its program prints what it says in QEMU."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from here import not_run_here

from labc import board
from labc.cli import main

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "firmware.md").read_text(encoding="utf-8")


def fenced(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(1)  # on a busy machine a second thread costs so small a network more than it gives
    for file, language in (("firmware.c", "c"), ("board.ld", "ld"), ("mine.toml", "toml")):
        Path(file).write_text(fenced(language)[0])
    for line in "".join(fenced("sh")).strip().splitlines():
        program, *arguments = shlex.split(line)
        assert program == "labc"
        short = ["--epochs", "12"] if arguments[0] == "train" else ["--samples", "5"] if arguments[0] == "check" else []
        assert main([*arguments, *short]) == 0, line
    assert "16,384 bytes" in capsys.readouterr().out
    for line in fenced("console")[0].strip().splitlines():
        command = shlex.split(line)
        if shutil.which(command[0]) is None:
            not_run_here("docs/firmware.md's program", f"{command[0]} is not on PATH")
            return
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (line, done.stderr)
    assert "class 0" in done.stdout + done.stderr
    link = shlex.split(fenced("console")[0].splitlines()[0])
    for memory, room, told in (
        ("20000000", "1100", "digits: RAM: data and arena leave less than the"),
        ("20000000", "64", "overflowed by"),
        ("00000000", "8K", "region `FLASH' overflowed by"),
    ):
        Path("board.ld").write_text(fenced("ld")[0].replace(f"0x{memory}, LENGTH = 4M", f"0x{memory}, LENGTH = {room}"))
        failed = subprocess.run(link, capture_output=True, text=True, timeout=60, check=False)
        assert failed.returncode != 0
        assert told in failed.stderr


def test_every_board_is_in_the_table() -> None:
    listed = {name.strip() for row in re.findall(r"^\| ([^|]+) \| [\w-]+ \| \S+ [\d.]+ \|", PAGE, re.MULTILINE) for name in row.split(",")}
    assert listed == set(board.names())
