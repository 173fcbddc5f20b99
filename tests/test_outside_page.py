"""The page on trainers from outside says what is so: its files, commands and test run in their order."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from cfsweep.results.status import status
from tests.conftest import Run

PAGE = Path(__file__).parent.parent / "docs" / "outside-trainer.md"
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def blocks(kind: str) -> list[str]:
    return [text for found, text in BLOCKS if found == kind]


def test_all_that_the_page_shows_runs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    function, test = blocks("python")
    (space,) = blocks("yaml")
    Path("my_trainer.py").write_text(function)
    Path("my_space.yaml").write_text(space)
    commands = [shlex.split(line) for block in blocks("") for line in block.splitlines()]
    assert len(commands) == 7
    for _, verb, *words in commands:
        here = ["--workers", "0"] if verb in ("run", "confirm") else []
        code, out, complaint = run(verb, *words, *here)
        assert code == 0, complaint
        if "--dry-run" in words:
            assert "layers" in out
            assert "searched: 1 to 4, whole numbers" in out
    assert status("runs/mine").ended == 24
    assert {path.name for path in Path("runs/mine-model").iterdir()} == {"state", "run.json"}
    content: dict[str, Any] = {}
    exec(test, content)
    content["test_my_trainer"]()


@pytest.fixture(autouse=True)
def forgotten() -> Any:
    yield
    sys.modules.pop("my_trainer", None)


def test_the_examples_that_it_names_are_there() -> None:
    named = re.findall(r"\]\(\.\./(examples/[^)]+)\)", PAGE.read_text())
    named += re.findall(r"(examples/\w+\.yaml)", PAGE.read_text())
    assert len(named) == 5
    assert all((PAGE.parent.parent / name).is_file() for name in named)
