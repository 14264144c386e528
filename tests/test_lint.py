"""`make lint` and the hooks of pre-commit run the same tools with the same options, and no hook needs a network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent


def hooks() -> list[dict[str, Any]]:
    repos = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    return [{"repo": repo["repo"], **hook} for repo in repos for hook in repo["hooks"]]


def linters() -> list[str]:
    """The commands of the Makefile's target `lint` without the files they are given, which pre-commit chooses itself."""
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    return [re.sub(r" (\.|\{\} \+)$", "", command) for command in re.findall(r"\$\(BIN\)/(.*)", recipe[1])]


def test_hooks_run_the_tools_of_the_venv() -> None:
    """A hook of another repository is cloned, and one of another language is installed: neither works offline."""
    for hook in hooks():
        assert (hook["repo"], hook["language"]) == ("local", "system"), hook["id"]
        assert hook["entry"].startswith(".venv/bin/"), hook["id"]


def test_make_lint_and_the_hooks_agree() -> None:
    assert linters()
    assert sorted(hook["entry"].removeprefix(".venv/bin/") for hook in hooks()) == sorted(linters())
