"""Bundles of amounts, or of several labels, with outputs of its own for each task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cfsweep.bundle import Model, continue_, load, write
from cfsweep.bundle.paired import paired_answers
from cfsweep.config import StreamConfig
from tests.bundle.test_continued import ABOUT
from tests.bundle.test_table import study_of, trained

pytestmark = pytest.mark.usefixtures("no_program")
K = 2  # labels of an example


def write_task(path: Path, number: int, target: str) -> Path:
    rng = np.random.default_rng(number)
    x = rng.normal(size=(60, 4))
    y = 10 * number + x[:, :K] if target == "regression" else (x[:, :K] > 0).astype(float)
    np.savez(path, x_train=x, y_train=y)
    return path


@pytest.fixture(params=["regression", "multi-label"])
def bundle(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    (tmp_path / "tasks").mkdir()
    for number in range(2):
        write_task(tmp_path / "tasks" / f"{number}.npz", number, request.param)
    config = StreamConfig(name=str(tmp_path / "tasks"), scenario="task-il", target=request.param, validation_frac=0.2)
    write(trained(config), study_of(config), ABOUT, tmp_path / "bundle")
    return tmp_path / "bundle"


def require_answers_of_its_head(model: Model, task: int) -> None:
    x = np.random.default_rng(9).normal(size=(5, 4)).astype(np.float32)
    own = slice(K * task, K * (task + 1))
    outputs = model.outputs(x, task)[:, own]
    if model.about.target == "regression":
        assert model.predict(x, task) == outputs.tolist()
        return
    assert model.predict(x, task) == (outputs > 0).float().tolist()
    found = model.probabilities(x, task)
    assert list(found) == [*range(K)], "a label is called by its place, whatever the task"
    np.testing.assert_allclose(found, outputs.sigmoid(), rtol=1e-5)


def test_each_task_is_answered_by_its_own_outputs_and_so_is_one_that_comes_later(bundle: Path, tmp_path: Path) -> None:
    model = load(bundle)
    new = write_task(tmp_path / "2.npz", 2, model.about.target)
    about = continue_(bundle, new, {}, tmp_path / "next")
    after = load(tmp_path / "next")
    assert (model.about.n_outputs, about.n_outputs) == (2 * K, 3 * K)
    for answering, n_tasks in ((model, 2), (after, 3)):
        for task in range(n_tasks):
            require_answers_of_its_head(answering, task)


def test_two_of_them_are_compared_by_their_scores(bundle: Path) -> None:
    about = load(bundle).about
    score, _, pairs, _ = paired_answers(bundle, bundle, None, None)
    assert score == about.score
    for number, pair in enumerate(pairs):
        champion, candidate = pair.of(np.arange(pair.n_examples))
        assert champion == candidate == pytest.approx(about.scores["test"][-1][number])
