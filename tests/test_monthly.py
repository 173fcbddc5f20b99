"""The worked example of docs/bundles.md, as it stands: months swept, confirmed, exported, continued with, judged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
MONTHLY = ROOT / "examples" / "monthly"


def retrain(folder: Path, **environment: str) -> int:
    place = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = ["bash", str(MONTHLY / "retrain.sh"), "months", "models"]
    return subprocess.run(command, cwd=folder, env={**os.environ, "PATH": place, **environment}).returncode


@pytest.mark.slow
def test_each_month_goes_on_and_a_naive_candidate_is_refused(tmp_path: Path) -> None:
    subprocess.run([sys.executable, MONTHLY / "data.py", tmp_path / "months"], check=True)
    champion = tmp_path / "models" / "champion"
    assert retrain(tmp_path) == 0
    assert champion.readlink() == Path("03")
    assert retrain(tmp_path, RETRAIN_WITH="--set replay_ratio=0") == 1  # naive
    assert champion.readlink() == Path("03")
    said = json.loads((tmp_path / "models" / "04-gate.json").read_text())
    fell = [task for task in said["tasks"] if task["verdict"].startswith("fell")]
    assert "03" in {task["name"] for task in fell}  # what was learned last is forgotten first
    assert retrain(tmp_path, RETRAIN_WITH="--set replay_ratio=0") == 1  # once more, over the refused one
    for month in ("04", "05", "06"):
        assert retrain(tmp_path) == 0
        assert champion.readlink() == Path(month)
    about = json.loads((champion / "model.json").read_text())
    assert [task["name"] for task in about["tasks"]] == ["01", "02", "03", "04", "05", "06"]


def test_the_workflow_runs_the_script() -> None:
    steps = yaml.safe_load((MONTHLY / "retrain.yml").read_text())["jobs"]["retrain"]["steps"]
    (command,) = (step["run"] for step in steps if "retrain.sh" in step.get("run", ""))
    assert (ROOT / command.split()[1]).is_file()
