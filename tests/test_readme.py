"""The README is followed: each command it names is understood, each file it points to is there, its Python runs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import cfsweep
from cfsweep import cli
from tests.analysis.folder import lively

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [
    shlex.split(line.split("  #")[0])
    for kind, block in BLOCKS
    if not kind
    for line in block.splitlines()
    if line.strip()
]
SWEEPS = [command for command in COMMANDS if command[:2] == ["cfsweep", "run"]]
VERBS = ("front", "report", "table", "select", "gate", "compare")
ANALYSES = [command for command in COMMANDS if command[0] == "cfsweep" and command[1] in VERBS]


def test_the_commands_were_found() -> None:
    assert len(SWEEPS) >= 4
    assert len(ANALYSES) >= 6
    assert ["make", "demo"] in COMMANDS
    assert ["make", "test"] in COMMANDS


@pytest.mark.parametrize("command", SWEEPS, ids=lambda command: command[4] if "--stream" in command else "own network")
def test_every_sweep_of_the_readme_can_be_made(
    command: list[str], request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    for task in range(2):
        x, y = rng.normal(size=(80, 4)), 2 * task + np.arange(80) % 2
        np.savez(tmp_path / f"{task}.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    stand_ins = {"path/to/folder": str(tmp_path)}
    if "months.csv" in command:
        # in a process of its own: what is imported here is no more a script to others
        script = [sys.executable, "-m", "examples.table"]
        subprocess.run(script, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
        stand_ins["months.csv"] = str(tmp_path / "months.csv")
    if "path/to/images" in command:
        for number in range(80):
            folder = tmp_path / "images" / f"kind-{number % 4}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (40, 40, 3), np.uint8)).save(folder / f"{number}.png")
        stand_ins["path/to/images"] = str(tmp_path / "images")
    if "DIR" in command:
        stand_ins["DIR"] = str(request.getfixturevalue("data_root"))
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [*(stand_ins.get(word, word) for word in command), "--dry-run"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What looks like a sweep. Read only."""
    return lively(tmp_path_factory.mktemp("demo") / "demo", n_trials=12, seeds=2).write()


@pytest.mark.parametrize("command", ANALYSES, ids=lambda command: command[1])
def test_every_analysis_of_the_readme_is_understood(
    command: list[str], demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("demo", "a", "b"):
        shutil.copytree(demo, tmp_path / "runs" / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code in ((0, 1, None) if command[1] == "gate" else (0, None))  # its answer may be no


def test_the_python_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, _ = (block for kind, block in BLOCKS if kind == "python")
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(code, found)
    assert found["trained"].validation.shape == (3, 6, 5)
    assert found["swept"].status.complete
    assert set(found["model"].predict(found["trained"].stream.x[:5], task=0)) <= {0, 1}


def test_the_program_gets_the_confirmed_accuracy_to_the_last_digit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, code = (block for kind, block in BLOCKS if kind == "python")
    assert len([line for line in code.splitlines() if line]) == 12
    monkeypatch.chdir(tmp_path)
    settings = {"network.args.hidden": [6, 6], "lr": 0.03, "epochs": 2}
    trained = cfsweep.train("split-digits", settings=settings, scenario="task-il", test=True)
    trained.export(tmp_path / "runs" / "demo-model")
    exec(code, {})
    measured, confirmed = capsys.readouterr().out.split(" confirmed: ")
    assert float(measured) == float(confirmed) == trained.test[0, -1].mean() > 0.7


def test_what_the_documents_point_to_is_there() -> None:
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name} points to {target}"


def test_every_setting_that_is_listed_is_known() -> None:
    """The keys after `--set` in running text."""
    text = (ROOT / "docs" / "sweep.md").read_text()
    listed = re.search(r"overrides anything: (.*?)`--dry-run`", text, flags=re.DOTALL)
    assert listed
    settings = re.findall(r"`([\w.]+=[^`]+)`", listed[1])
    assert len(settings) >= 6
    from cfsweep.sweeping.parsing import make_config

    make_config(ROOT / "search_spaces" / "mixed.yaml", {}, settings)
