"""Scores beyond accuracy along the whole way: sweep, front, choice, confirmation, bundle, next task, gate."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import analysis
import analysis.paired_bootstrap
import cfsweep
from cfsweep.results.reader import read_table
from tests.conftest import Run, without_program

N_FEATURES = 4
FEW = ("--trials", "3", "--seeds", "3", "--workers", "0", "--set", "epochs=2", "--set", "network.args.hidden=[8]")
KINDS = {
    "binary": ("classification", "roc_auc,accuracy,neg_log_loss"),
    "regression": ("regression", "neg_rmse,r2"),
    "multi-label": ("multi-label", "roc_auc,exact_match"),
}


def write_tasks(folder: Path, kind: str, numbers: range) -> Path:
    """A file for each task, whose labels depend on x by weights that drift."""
    folder.mkdir(exist_ok=True)
    for number in numbers:
        rng, arrays = np.random.default_rng([7, number]), {}
        for part, n in (("train", 120), ("test", 60)):
            x = rng.normal(size=(n, N_FEATURES)).astype(np.float32)
            drift = number * np.array([-0.5, 0.7, 0, 0.1])
            z = x @ (np.array([1, 0, 1, 0]) + drift)
            other = x @ np.array([0, 1, 0, 1])
            arrays[f"x_{part}"] = x
            arrays[f"y_{part}"] = {
                "binary": (z > np.quantile(z, 0.85)).astype(int),
                "regression": 1e5 + 1e4 * z,
                "multi-label": np.column_stack([z > 0, other > 0.5]).astype(int),
            }[kind]
        np.savez(folder / f"{number:02}.npz", **arrays)
    return folder


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate's interval from few samples, as nobody looks at it here: `analysis/test_paired_bootstrap.py` does."""
    few = partial(analysis.paired_bootstrap.difference, draws=20)
    monkeypatch.setattr(analysis.paired_bootstrap, "difference", few)


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize(
    ("kind", "scenario"),
    [*((kind, "domain-il") for kind in KINDS), ("regression", "task-il")],
)
def test_the_whole_way(kind: str, scenario: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, scores = KINDS[kind]
    steering, *others = scores.split(",")
    tasks = write_tasks(tmp_path / "tasks", kind, range(3))
    how = ("--scenario", scenario, "--target", target, "--score", scores)
    code, out, complaints = run("run", "replay", "--stream", tasks, *how, *FEW, "--out", "study")
    assert (code, complaints) == (0, ""), complaints

    rows = read_table("study", "accuracy")
    assert {steering, *others} <= set(rows.column_names)
    assert not any(rows[name].null_count for name in (steering, *others))
    about, runs = analysis.study("study"), analysis.load("study")
    assert about.score == steering
    matrix = analysis.score_matrix("study", 0, 0)
    by_hand = [(row["after_task"], row["eval_task"], row[steering]) for row in rows.to_pylist() if _is_first(row)]
    assert all(matrix[after + 1, task] == value for after, task, value in by_hand)
    own = runs[(runs["trial"] == 0) & (runs["seed"] == 0)].iloc[0]
    assert own["val_average_score"] == pytest.approx(matrix[-1].mean())
    assert own["val_backward_transfer"] == pytest.approx((matrix[-1, :-1] - np.diag(matrix[1:])[:-1]).mean())
    table = analysis.trials(runs)
    found = analysis.front(table, about.front_objectives, runs, about.score_bounds)
    constant = table[table["trial"] == -1000].iloc[0]
    if kind == "regression":
        assert found.reference_point == (constant["val_stability"], constant["val_plasticity"])
        assert own["val_retention_ratio"] is analysis.load("study").iloc[0]["val_remembering"]
    else:
        assert found.reference_point == (0.0, 0.0)
    assert found.hypervolume is not None
    assert found.hypervolume >= 0

    assert run("report", "study")[0] == 0
    assert f"Every score is {steering} on validation data" in Path("study/report.html").read_text()
    code, out, _ = run("select", "study")
    assert code == 0
    assert f"average score ({steering}) on validation data" in out
    chosen = analysis.selection("study")
    assert chosen is not None
    own, constant = (analysis.score_matrix("study", number)[-1] for number in (chosen["trial"], -1000))
    behind = [f"`{task:02}`" for task in range(3) if own[task] <= constant[task]]
    told = next((line for line in out.splitlines() if line.startswith("At the end it is no better than")), "")
    if "does not beat the constant answer" not in out:  # which says it of all tasks together
        assert ("of 3 tasks: " in told) == bool(behind)
        assert all(name in told for name in behind)
    assert run("confirm", "study", "--workers", "0", "--seeds", "2")[0] == 0
    code, out, _ = run("export", "study", "--trial", "selected", "--to", "model")
    assert code == 0
    assert steering in out
    _check_bundle(tasks, kind)
    without_program(monkeypatch)  # nobody looks at that of the next bundle

    write_tasks(tmp_path / "next", kind, range(3, 4))
    code, out, complaints = run("continue", "model", "--task", "next/03.npz", "--to", "new")
    assert (code, complaints) == (0, "")
    write_tasks(tasks, kind, range(3, 4))
    gate = ("gate", "--champion", "model", "--candidate", "new", "--stream", tasks, "--json", "gate.json")
    for name in (steering, *others):
        most = "1e9" if name in ("neg_rmse", "neg_log_loss", "r2") else "0.999"
        code, out, complaints = run(*gate, "--max-drop", most, "--score", name)
        assert (code, complaints) == (0, ""), complaints
        said = json.loads(Path("gate.json").read_text())
        assert said["score"] == name
        for part, task in zip(("champion", "candidate"), (0, 3), strict=True):
            assert said["tasks"][task][part] == pytest.approx(_score_by_hand(part, tasks, task, name))
    lowest = min(task["difference"] for task in said["tasks"][:3])
    code, _, complaints = run(*gate, "--max-drop", str(max(0.0, -lowest + 1e-9)), "--score", name)
    assert code == 0
    if lowest < 0:
        code, _, complaints = run(*gate, "--max-drop", str(-lowest / 2), "--score", name)
        assert code == 1
        assert "earlier tasks fell by more than" in complaints


def _is_first(row: dict[str, Any]) -> bool:
    return row["trial"] == 0 and row["seed"] == 0


def _check_bundle(tasks: Path, kind: str) -> None:
    """The bundle, and the program with torch alone, answer in the user's units."""
    model, content = cfsweep.load("model"), np.load(tasks / "01.npz")
    said = np.array(model.predict(content["x_test"], 1))
    assert said.shape == content["y_test"].shape
    program = torch.export.load("model/model.pt2").module()
    told = (torch.tensor(1),) if model.about.scenario == "task-il" else ()
    outputs = program(torch.from_numpy(content["x_test"]), *told)
    if told:
        k = outputs.shape[1] // 3
        assert not outputs[:, [*range(k), *range(2 * k, 3 * k)]].isfinite().any(), "other tasks have other outputs"
        outputs = outputs[:, k : 2 * k]
    if kind == "regression":
        assert np.abs(said.mean() / 1e5 - 1) < 0.5
        np.testing.assert_allclose(outputs[:, 0].numpy(), said, rtol=1e-5)
    else:
        by_program = outputs.argmax(1) if kind == "binary" else (outputs > 0).long()
        assert by_program.tolist() == said.astype(int).tolist()
        by_hand = torch.softmax(outputs, 1) if kind == "binary" else outputs.sigmoid()
        found = model.probabilities(content["x_test"])
        assert list(found) == list(range(outputs.shape[1]))
        np.testing.assert_allclose(found.to_numpy(), by_hand.numpy(), atol=1e-5)


def _score_by_hand(part: str, tasks: Path, task: int, score: str) -> float:
    """With scikit-learn, from what the bundle's model outputs."""
    from sklearn import metrics

    model, content = cfsweep.load("model" if part == "champion" else "new"), np.load(tasks / f"{task:02}.npz")
    y, outputs = content["y_test"], model.outputs(content["x_test"], task)
    outputs = outputs[:, outputs.isfinite().all(0)]
    said = np.array(model.predict(content["x_test"], task))
    if score == "neg_rmse":
        return -float(metrics.root_mean_squared_error(y, said))
    if score == "r2":
        return float(metrics.r2_score(y, said))
    if score in ("accuracy", "exact_match"):
        return float(metrics.accuracy_score(y, said))
    p = torch.softmax(outputs.double(), 1).numpy()[:, 1] if y.ndim == 1 else outputs.sigmoid().numpy()
    if score == "roc_auc":
        return float(metrics.roc_auc_score(y, p, average="macro"))
    assert score == "neg_log_loss"
    return -float(metrics.log_loss(y, np.column_stack([1 - p, p])))


def test_a_month_without_positives_is_null_and_the_sweep_goes_on(run: Run, tmp_path: Path) -> None:
    """A task all of whose examples are of one class."""
    tasks = write_tasks(tmp_path / "tasks", "binary", range(4))
    content = dict(np.load(tasks / "01.npz"))
    np.savez(tasks / "01.npz", **{**content, "y_train": np.zeros(120, int), "y_test": np.zeros(60, int)})
    how = ("--scenario", "domain-il", "--score", "roc_auc,accuracy", *FEW)
    code, out, complaints = run("run", "replay", "--stream", tasks, *how, "--out", "study")
    assert (code, complaints) == (0, "")
    assert "`roc_auc` has no value on the validation examples of `01`" in out
    rows = read_table("study", "accuracy").to_pylist()
    assert all((row["roc_auc"] is None) == (row["eval_task"] == 1) for row in rows)
    assert all(row["accuracy"] is not None for row in rows)
    runs = analysis.load("study")
    assert runs["val_average_score"].notna().all()
    matrix = analysis.score_matrix("study", 0, 0)
    own = runs[(runs["trial"] == 0) & (runs["seed"] == 0)].iloc[0]
    assert own["val_average_score"] == pytest.approx(np.nanmean(matrix[-1]))
    assert run("front", "study")[0] == run("report", "study")[0] == 0
    assert cfsweep.train(str(tasks), scenario="domain-il", scores="roc_auc", settings={"epochs": 1})._repr_html_()


def test_a_study_does_not_go_on_with_another_source_of_a_score(run: Run, tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "tasks", "binary", range(3))
    source = "def hits(labels, predictions):\n    return float((labels == predictions).mean())\n"
    Path("own_hits.py").write_text(source)
    how = ("--scenario", "domain-il", "--score", "own_hits:hits", *FEW)
    code, _, complaints = run("run", "replay", "--stream", tasks, *how, "--out", "study")
    assert (code, complaints) == (0, "")
    assert analysis.study("study").score_bounds == (-np.inf, np.inf)
    Path("own_hits.py").write_text(source.replace("mean", "max"))
    code, _, complaints = run("resume", "study", "--trials", "+1", "--workers", "0")
    assert code == 2
    assert "own_hits.py" in complaints


def test_the_score_of_the_page(run: Run, tmp_path: Path, project_root: Path) -> None:
    """Of 10 examples the one that looks most like it is one of two positives."""
    page = (project_root / "docs" / "scores.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    found: dict[str, Any] = {}
    exec(code, found)
    labels = np.array([0, 1, 0, 0, 1, 0, 0, 0, 0, 0])
    p = np.linspace(0, 0.5, 10)
    p[4] = 0.9
    assert found["recall_at_10"](labels, np.column_stack([1 - p, p])) == 0.5
    assert np.isnan(found["recall_at_10"](0 * labels, np.column_stack([1 - p, p])))
    Path("my_scores.py").write_text(code)
    tasks = write_tasks(tmp_path / "tasks", "binary", range(3))
    how = ("--scenario", "domain-il", "--score", "my_scores:recall_at_10", *FEW)
    assert run("run", "replay", "--stream", tasks, *how, "--out", "study")[0] == 0
    assert analysis.study("study").score_bounds == (0.0, 1.0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("--target", "regression", "--scenario", "domain-il"), "a regression needs amounts as labels"),
        (("--set", "stream.positive=1", "--scenario", "domain-il"), "`positive` must be a class of all tasks"),
        (("--set", "stream.positive=lily"), "unknown label `lily`"),
        (("--set", "stream.class_weights={3: 2, lily: 1}"), "unknown label `lily`"),
        (("--score", "rmse"), "unknown score `rmse`"),
        (("--score", "my_scores:trial"), "a score cannot be called as a column of its table"),
        (("--set", "network.init=junk.pt"), "it holds no weights"),
    ],
    ids=lambda value: str(value[-1]) if isinstance(value, tuple) else "",
)
def test_bad_input_is_one_line(settings: tuple[str, ...], said: str, run: Run, smoke: Path) -> None:
    Path("junk.pt").write_bytes(b"junk")
    code, _, complaints = run("run", smoke, *settings, "--workers", "0", "--out", "study")
    assert (code, complaints.count("\n")) == (2, 1), complaints
    assert said in complaints
    assert not Path("study").exists()


def test_weights_by_whole_numbers_are_those_of_the_labels(run: Run, smoke: Path) -> None:
    code, out, complaints = run("run", smoke, "--set", "stream.class_weights={3: 2}", "--dry-run")
    assert (code, complaints) == (0, "")
    assert "{'3': 2.0}" in out


def test_a_month_without_a_score_does_not_blank_the_average(tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "tasks", "binary", range(3))
    content = dict(np.load(tasks / "01.npz"))
    np.savez(tasks / "01.npz", **{**content, "y_train": np.zeros(120, int), "y_test": np.zeros(60, int)})
    trained = cfsweep.train(str(tasks), scenario="domain-il", scores="roc_auc", settings={"epochs": 1})
    assert trained.average_score[0] == pytest.approx(np.nanmean(trained.validation[0, -1]))
