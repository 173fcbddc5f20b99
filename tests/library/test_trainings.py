"""`train` is a sweep's run, without the sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import cfsweep
from cfsweep.results.schema import model_path
from cfsweep.training.streams import Stream

SMALL = {"stream.n_tasks": 2, "network.args.hidden": [16], "epochs": 1}


def trained(**changed: Any) -> cfsweep.Training:
    asked: dict[str, Any] = {"ingredients": ["ewc", "replay"], "scenario": "class-il", "settings": SMALL}
    return cfsweep.train("split-digits", **(asked | changed))


@pytest.mark.usefixtures("no_program")
def test_it_is_the_confirmed_run_of_a_sweep(tmp_path: Path) -> None:
    space = {"ingredients": ["ewc", "replay"], "search": {"ewc_lambda": {"low": 1.0, "high": 100.0}}}
    asked: dict[str, Any] = {"scenario": "class-il", "trials": 2, "settings": SMALL, "workers": 0}
    swept = cfsweep.sweep(space, "split-digits", out=tmp_path / "s", **asked)
    swept.select()
    model = swept.confirm(seeds=2, workers=0).export(tmp_path / "model", seed=10_001, onnx=True)
    settings = {"stream.n_tasks": 2, "network.args.hidden": [16], **model.about.settings}
    found = trained(settings=settings, seeds=[10_001], test=True)
    assert found.validation[0].tolist() == [list(row) for row in model.about.scores["validation"]]
    assert found.test[0].tolist() == [list(row) for row in model.about.scores["test"]]
    less = cfsweep.export(tmp_path / "s", tmp_path / "less", seed=10_001, with_data=False)
    own_less = found.export(tmp_path / "own-less", with_data=False, onnx=True)
    known = [of.about.has_examples for of in (model, less, found.export(tmp_path / "own"), own_less)]
    assert known == [True, False, True, False]
    assert ["model.onnx" in of.about.files for of in (model, less, own_less)] == [True, False, True]
    own, x = found.model(), found.stream.x[:20]
    assert torch.equal(own.outputs(x), model.outputs(x))
    assert model_path(tmp_path / "s" / "confirmed", (model.about.trial, 10_001)).exists()


def test_scores_by_seed_and_by_plain_loops_over_the_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine seeds are two packs; a seed's numbers do not hang on the others."""
    found = trained(seeds=9)
    assert found.validation.shape == (9, 3, 2)
    assert found.seeds == list(range(9))
    alone = trained(seeds=[8])
    assert np.allclose(found.validation[8], alone.validation[0], atol=0.03)
    assert found.average_score[3] == found.validation[3, -1].mean()
    assert f"{found.average_score.mean():.3f} ± {found.average_score.std(ddof=1):.3f}" in repr(found)


def test_test_data_is_looked_at_on_demand_alone() -> None:
    with pytest.raises(cfsweep.InputError, match="no test data was looked at"):
        _ = trained().test
    assert trained(test=True).test.shape == (1, 3, 2)


def test_progress_and_a_failure() -> None:
    told: list[Any] = []
    found = trained(settings={**SMALL, "lr": 1e30}, seeds=2, progress=told.append)
    assert [report.task for report in told] == [0]
    assert set(found.failures) == {0, 1}
    assert np.isnan(found.validation[:, -1]).all()
    assert "2 failed" in repr(found)
    with pytest.raises(cfsweep.InputError, match="of none there is one"):
        found.model()


@pytest.mark.usefixtures("no_program")
def test_it_is_exported(tmp_path: Path) -> None:
    found = trained(seeds=2)
    model = found.export(tmp_path / "m", seed=1)
    assert (model.about.seed, model.about.ingredients) == (1, ("ewc", "replay"))
    x = found.stream.x[:9]
    assert torch.equal(model.outputs(x), found.model(1).outputs(x))
    with pytest.raises(cfsweep.InputError, match="no model of seed 5: of 0, 1 there is one"):
        found.export(tmp_path / "n", seed=5)


def test_it_shows_the_mean_matrix() -> None:
    found = trained(seeds=2)
    page = found._repr_html_()
    assert f"<td>{found.validation[:, -1, 0].mean():.3f}</td>" in page
    assert page.count("<tr>") == 4


def test_a_named_space_with_everything_fixed() -> None:
    found = cfsweep.train(
        "split-digits", "ewc", settings={**SMALL, "ewc_lambda": 5.0, "lr": 0.01, "search": {}}, scenario="domain-il"
    )
    assert (found.settings["ewc_lambda"], found.settings["lr"]) == (5.0, 0.01)
    assert isinstance(found.stream, Stream)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"seeds": 0}, "train: `seeds` must be a number above 0"),
        ({"seeds": [1, 1]}, "train: `seeds` must be"),
        ({"seeds": []}, "train: `seeds` must be"),
        ({"space": "ewc"}, "train: a space names its ingredients itself"),
        ({"space": "ewc", "ingredients": ()}, "train: the space searches"),
        ({"settings": {"ewc_lamda": 1.0}}, "settings: unknown key `ewc_lamda`"),
        ({"ingredients": ["ewcc"]}, ""),
        ({"settings": {**SMALL, "seeds": 3}}, "settings seeds: it is a sweep's"),
        ({"settings": {**SMALL, "stream.splits": 2}}, "settings stream.splits: it is a sweep's"),
        ({"settings": {**SMALL, "objective.name": "pareto"}}, "settings objective: it is a sweep's"),
        ({"settings": {**SMALL, "curve_points_per_task": 2}}, "settings curve_points_per_task: it is a sweep's"),
        ({"device": "gpu"}, "train: `device` must be cpu or cuda, but got gpu"),
    ],
)
def test_bad_input(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(cfsweep.InputError) as error:
        trained(**changed)
    assert str(error.value).startswith(said)


@pytest.mark.usefixtures("no_program")
def test_a_model_goes_on_with_the_next_task_as_one_stream_would(tmp_path: Path) -> None:
    def month(number: int) -> dict[str, Any]:
        rng = np.random.default_rng(number)
        x = rng.normal(size=(60, 4)).astype(np.float32) + number
        y = (x[:, 0] > number).astype(np.int64)
        return {"x_train": x[:40], "y_train": y[:40], "x_test": x[40:], "y_test": y[40:]}

    for folder, n in (("two", 2), ("three", 3)):
        (tmp_path / folder).mkdir()
        for number in range(n):
            np.savez(tmp_path / folder / f"{number}.npz", **month(number))
    settings = {"network.args.hidden": [8], "epochs": 2}
    whole, first = (
        cfsweep.train(str(tmp_path / folder), ingredients=["ewc"], settings=settings, scenario="domain-il", test=True)
        for folder in ("three", "two")
    )
    first.export(tmp_path / "model")
    after = cfsweep.continue_(tmp_path / "model", tmp_path / "three" / "2.npz", tmp_path / "after")
    x = whole.stream.x
    assert torch.equal(after.outputs(x), whole.model().outputs(x))
    assert after.about.purpose == "train"
    slower = cfsweep.continue_(
        tmp_path / "model", tmp_path / "three" / "2.npz", tmp_path / "slow", settings={"lr": 1e-5}
    )
    assert slower.about.settings["lr"] == 1e-5
    assert not torch.equal(slower.outputs(x), after.outputs(x))
