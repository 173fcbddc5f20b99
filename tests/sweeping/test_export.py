"""From a sweep to a bundle, as a user goes, and the page about it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import analysis
from analysis.confirmation import columns, confirmation
from cfsweep.bundle import load
from cfsweep.bundle.paired import paired_answers
from cfsweep.bundle.writer import CARD
from cfsweep.cli import app
from cfsweep.config import StreamConfig
from cfsweep.errors import InputError
from cfsweep.results.reader import read_table
from cfsweep.sweeping.export import export
from cfsweep.training.streams import load_stream

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "bundles.md"
SPACE = """
ingredients: [packnet]
network: {name: mlp, args: {hidden: [8]}}
fixed: {epochs: 1}
search: {packnet_rate: {low: 0.3, high: 0.7}}
"""


def call(*arguments: object) -> int:
    return int(app([str(argument) for argument in arguments], standalone_mode=False) or 0)


@pytest.fixture(scope="module")
def confirmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of which the selected trial was confirmed and refitted."""
    root = tmp_path_factory.mktemp("export")
    (root / "space.yaml").write_text(SPACE)
    call("run", root / "space.yaml", "--trials", 3, "--workers", 0, "--out", root / "study", "--scenario", "task-il")
    call("select", root / "study")
    call("confirm", root / "study", "--seeds", 2, "--workers", 0)
    call("confirm", root / "study", "--seeds", 1, "--workers", 0, "--refit")
    return root / "study"


@pytest.mark.usefixtures("no_program")
@pytest.mark.parametrize("refit", [False, True])
def test_a_bundle_scores_what_its_run_was_confirmed_with(confirmed: Path, tmp_path: Path, refit: bool) -> None:
    call("export", confirmed, "--to", tmp_path / "model", *(["--refit"] if refit else []))
    said = (tmp_path / "model" / CARD).read_text()
    for row in zip(*columns(confirmation(confirmed)).values(), strict=True):
        assert f"\n| {' | '.join(row)} |\n" in said
    assert all(f"\n| {name} | " in said for name in ("naive", "joint"))
    model = load(tmp_path / "model")
    about, stream = model.about, load_stream(StreamConfig())
    assert about.trial == analysis.selection(confirmed)["trial"]  # type: ignore[index]
    rows = read_table(confirmed / ("refitted" if refit else "confirmed"), "test").to_pylist()
    own = [row for row in rows if (row["trial"], row["seed"], row["after_task"]) == (about.trial, about.seed, 4)]
    last = {row["eval_task"]: row["accuracy"] for row in own}
    for number, task in enumerate(stream.tasks):
        said, labels = model.predict(stream.x[task.test], number), stream.y[task.test].tolist()
        share = sum(a == b for a, b in zip(said, labels, strict=True)) / len(labels)
        assert share == last[number] == about.scores["test"][-1][number]
    assert ("validation" in about.scores) is not refit


@pytest.mark.usefixtures("no_program")
def test_a_trial_that_equals_another_one_has_its_model(tmp_path: Path) -> None:
    """Where λ is 0, γ cannot act: the second of two such trials is handed the first one's results."""
    space = """
ingredients: [ewc]
network: {name: mlp, args: {hidden: [8]}}
fixed: {epochs: 1, ewc_lambda: 0}
search: {ewc_gamma: {choices: [1.0, 0.5]}}
"""
    (tmp_path / "space.yaml").write_text(space)
    call("run", tmp_path / "space.yaml", "--trials", 3, "--workers", 0, "--out", tmp_path / "study")
    call("select", tmp_path / "study")
    call("confirm", tmp_path / "study", "--seeds", 1, "--workers", 0, "--trials", "0,1,2")
    rows = read_table(tmp_path / "study" / "confirmed", "runs").to_pylist()
    equal = [row["trial"] for row in rows if row["same_as"] is not None]
    assert equal
    first, other = (export(tmp_path / "study", trial, "best", tmp_path / str(trial)) for trial in (0, equal[0]))
    assert first.scores == other.scores


@pytest.mark.usefixtures("no_program")
def test_the_best_seed_is_that_of_validation_data(confirmed: Path, tmp_path: Path) -> None:
    trial = int(analysis.selection(confirmed)["trial"])  # type: ignore[index]
    rows = read_table(confirmed / "confirmed", "runs").to_pylist()
    scores = {row["seed"]: row["val_average_score"] for row in rows if row["trial"] == trial}
    assert export(confirmed, trial, "best", tmp_path / "best").seed == max(scores, key=lambda seed: scores[seed])
    other = min(scores, key=lambda seed: scores[seed])
    about = export(confirmed, trial, str(other), tmp_path / "other")
    assert about.seed == other
    assert about.average["validation"] == pytest.approx(scores[other])


@pytest.mark.usefixtures("no_program")
def test_two_exported_models_are_paired_by_the_gate(confirmed: Path, tmp_path: Path) -> None:
    """On the test examples that both were confirmed with; a refitted one has seen more, and is tested on the same."""
    call("export", confirmed, "--to", tmp_path / "a", "--seed", 10000)
    call("export", confirmed, "--to", tmp_path / "b", "--refit")
    found = paired_answers(tmp_path / "a", tmp_path / "b")[2]
    for of_task, one, two in zip(
        found, *(load(tmp_path / name).about.scores["test"][-1] for name in "ab"), strict=True
    ):
        assert of_task.champion is not None
        assert (of_task.champion.mean(), of_task.candidate.mean()) == (one, two)
    models = ("--champion", tmp_path / "a", "--candidate", tmp_path / "b")
    assert call("gate", *models, "--max-drop", 0.99, "--json", tmp_path / "gate.json") == 0
    assert json.loads((tmp_path / "gate.json").read_text())["passes"] is True


def test_the_python_about_bundles_runs(confirmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call("export", confirmed, "--to", tmp_path / "runs" / "demo-model", "--onnx")
    monkeypatch.chdir(tmp_path)
    stream = load_stream(StreamConfig())
    x = stream.x[stream.tasks[0].test]
    content: dict[str, Any] = {"x": x}
    page, _, of_mlflow = PAGE.read_text().partition("## In MLflow")  # tests/mlflow_backend/test_served.py runs that
    assert "```python" not in of_mlflow.partition("\n## ")[2]
    for code in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(code, content)
    assert content["predict"](x, 0) == content["model"].predict(x, 0)
    assert content["predict_with_onnx"](x.numpy(), 0) == content["model"].predict(x, 0)
    assert content["program"](x, torch.tensor(0)) == pytest.approx(content["model"].outputs(x, 0), abs=1e-5)


def test_what_cannot_be_exported_is_one_line(confirmed: Path, tmp_path: Path) -> None:
    to = tmp_path / "model"

    def refused(match: str, *arguments: object, root: Path = confirmed) -> None:
        with pytest.raises(InputError, match=match):
            call("export", root, "--to", to, *arguments)
        assert not list(tmp_path.glob("model*"))

    refused(r"--trial 99: it was not confirmed; .* were", "--trial", 99)
    refused("--trial -1000: majority is the constant answer, and has no model", "--trial", -1000)
    refused("--trial x: `selected` or a number is needed", "--trial", "x")
    refused("--seed 0: `best` or one of 10000, 10001 is needed", "--seed", 0)
    refused("--seed worst: `best` or one of", "--seed", "worst")
    study = tmp_path / "study"
    shutil.copytree(confirmed, study)
    trial, model = analysis.selection(study)["trial"], study / "confirmed" / "models"  # type: ignore[index]
    for path in model.iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"!")
    refused(r"models/trial.*: altered: it is not what commits.jsonl has the SHA-256 of\. `cfsweep repair", root=study)
    for path in model.iterdir():
        path.unlink()
    refused(r"models/trial.*: missing\. `cfsweep repair", root=study)
    shutil.rmtree(study / "confirmed")
    refused("no model is kept there yet. `cfsweep confirm", root=study)
    (study / "selection.json").unlink()
    refused("Run `cfsweep select", root=study)
    assert trial is not None
    to.mkdir()
    with pytest.raises(InputError, match="it exists"):
        call("export", confirmed, "--to", to)


@pytest.mark.usefixtures("no_program")
def test_a_model_goes_on_as_the_run_that_was_confirmed_on_all_tasks(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(3):
        y = np.resize([0, 1], 60)
        x = (y[:, None] * rng.normal(size=8) + rng.normal(size=(60, 8))).astype(np.float32)
        for folder in ("long", "short")[: 2 - (number == 2)]:
            (tmp_path / folder).mkdir(exist_ok=True)
            np.savez(tmp_path / folder / f"{number}.npz", x_train=x, y_train=y)
    (tmp_path / "space.yaml").write_text(
        "scenario: domain-il\ningredients: [replay, early-stopping]\nfixed: {epochs: 2, batch_size: 8}\n"
        "network: {name: mlp, args: {hidden: [8]}}\nsearch: {replay_buffer: {low: 9, high: 30}}\n"
    )
    for name in ("long", "short"):
        out = tmp_path / f"{name}-study"
        call("run", tmp_path / "space.yaml", "--stream", tmp_path / name, "--trials", 2, "--workers", 0, "--out", out)
        call("select", out)
        call("confirm", out, "--trials", 1, "--seeds", 2, "--workers", 0)
        call("export", out, "--trial", 1, "--seed", 10001, "--to", tmp_path / f"{name}-model")
    call("continue", tmp_path / "short-model", "--task", tmp_path / "long" / "2.npz", "--to", tmp_path / "next-model")
    whole, here = (load_file(tmp_path / f"{name}-model" / "weights.safetensors") for name in ("long", "next"))
    before = load_file(tmp_path / "short-model" / "weights.safetensors")
    assert whole.keys() == here.keys()
    assert all(torch.equal(value, here[name]) for name, value in whole.items())
    assert not any(torch.equal(value, before[name]) for name, value in whole.items()), "it has learned something"


def test_code_of_ones_own_is_found_by_a_process_that_has_not_seen_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code_of_ones_own.py").write_text(
        "import math\n"
        "from torch import nn\n"
        "def build(input_shape, n_outputs):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), n_outputs))\n"
        "def share(labels, answers):\n"
        "    return float((labels == answers).mean())\n"
    )
    monkeypatch.chdir(tmp_path)
    own = ("--set", "network.name=code_of_ones_own:build", "--score", "accuracy,code_of_ones_own:share")
    call("run", "ewc", *own, "--set", "epochs=1", "--trials", 1, "--workers", 0, "--out", "study")
    call("select", "study")
    call("confirm", "study", "--trials", "0", "--seeds", 1, "--workers", 0)
    again = [sys.executable, "-P", "-m", "cfsweep", "export", "study", "--trial", "0", "--to", "model"]
    said = subprocess.run(again, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, "")
    code = tmp_path / "code_of_ones_own.py"
    code.write_text(code.read_text() + "# another one\n")
    shutil.rmtree("model")
    said = subprocess.run(again, capture_output=True, text=True, check=False)
    assert said.returncode == 2
    assert "the study began with code_of_ones_own.py of SHA-256" in said.stderr
