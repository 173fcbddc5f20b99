"""A model that was trained elsewhere becomes a bundle, and goes on as one of which the weights alone are left."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import cfsweep
from cfsweep.bundle import continue_, read_manifest
from cfsweep.bundle.manifest import STATE, Manifest
from cfsweep.bundle.writer import ANSWERS, WEIGHTS
from cfsweep.config import Scenario
from cfsweep.errors import InputError
from cfsweep.testing.packs import MLP, UNLIFTABLE
from tests.bundle.test_continued import FLAT, bundle_of, write_tasks
from tests.conftest import Run

CUT = {"validation_frac": 0.2, "steering_frac": 0.2, "split_seed": 3}


def own_network(input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(FLAT, 4), nn.Tanh(), nn.Linear(4, n_outputs))


def ground(tmp_path: Path, distinct: bool = False) -> Path:
    """Two tasks in `tasks`, and beside them a third."""
    tasks = write_tasks(tmp_path / "tasks", 3, distinct)
    (tasks / "task-2.npz").rename(tmp_path / "task-2.npz")
    return tasks


def settings_of(about: Manifest) -> dict[str, Any]:
    """What `adopt` has to be told of a bundle."""
    cut = {f"stream.{name}": value for name, value in CUT.items()}
    return {**about.settings, **cut, "network": about.network.model_dump()}


@pytest.mark.usefixtures("no_program")
@pytest.mark.parametrize(
    ("name", "scenario", "network"),
    [
        ("lwf", "class-il", MLP),
        ("lwf", "domain-il", UNLIFTABLE),  # with statistics
        ("l2-sp", "task-il", MLP),
        ("freeze", "domain-il", MLP),
        (None, "class-il", MLP),
    ],
)
def test_it_goes_on_as_a_bundle_without_its_state(
    name: str | None, scenario: Scenario, network: Any, tmp_path: Path
) -> None:
    tasks = ground(tmp_path, distinct=scenario != "domain-il")
    about = bundle_of(tasks, tmp_path / "known", name, network, scenario=scenario, split=0)
    (tmp_path / "known" / STATE).unlink()
    model = cfsweep.adopt(
        tmp_path / "known" / WEIGHTS,
        str(tasks),
        tmp_path / "adopted",
        ingredients=list(about.ingredients),
        settings=settings_of(about),
        scenario=scenario,
        seed=about.seed,
    )
    assert not (tmp_path / "adopted" / STATE).exists()
    assert STATE not in model.about.files
    told = {"created_at", "files", "git_revision", "study_id", "purpose", "scores", "trial", "has_examples"}
    told |= {"stream_config"}
    assert model.about.model_dump(exclude=told) == about.model_dump(exclude=told)
    for part, rows in about.scores.items():
        assert model.about.scores[part] == ((None, None), (None, None), rows[-1])
    for which in ("known", "adopted"):
        continue_(tmp_path / which, tmp_path / "task-2.npz", {}, tmp_path / f"after-{which}")
    for file in (WEIGHTS, ANSWERS, STATE):
        known, adopted = (load_file(tmp_path / f"after-{which}" / file) for which in ("known", "adopted"))
        assert known.keys() == adopted.keys()
        assert all(torch.equal(value, adopted[entry]) for entry, value in known.items())


def test_a_network_of_ones_own_is_adopted_continued_and_gated(tmp_path: Path, run: Run) -> None:
    tasks = ground(tmp_path)
    torch.manual_seed(0)
    network = own_network((FLAT,), 2)
    torch.save(network.state_dict(), tmp_path / "own.pt")
    (tmp_path / "space.yaml").write_text(
        f"scenario: domain-il\nnetwork: {{name: '{__name__}:own_network'}}\ningredients: [lwf]\n"
    )
    command = ["adopt", str(tmp_path / "own.pt"), "--stream", str(tasks), "--space", str(tmp_path / "space.yaml")]
    code, out, err = run(*command, "--to", str(tmp_path / "own"), "--set", "stream.standardise=none")
    assert (code, err) == (0, "")
    about = read_manifest(tmp_path / "own")
    assert out.startswith(f"adopted: accuracy {about.average['validation']:.4f} on validation data")
    assert "trained elsewhere on" in (tmp_path / "own" / "MODEL_CARD.md").read_text()
    with np.load(tasks / "task-1.npz") as arrays:
        x, y = torch.from_numpy(arrays["x_test"]), arrays["y_test"]
    right = (network(x).argmax(1).numpy() == y).mean()
    assert about.scores["test"][-1][1] == pytest.approx(right)
    cfsweep.continue_(tmp_path / "own", tmp_path / "task-2.npz", tmp_path / "after", settings={"lr": 0.05})
    shutil.copy(tmp_path / "task-2.npz", tasks)
    gate = ["gate", "--champion", str(tmp_path / "own"), "--candidate", str(tmp_path / "after"), "--max-drop", "0.99"]
    code, out, err = run(*gate)
    assert (code, err) == (0, "")
    assert "task-1" in out


def refused(tmp_path: Path, weights: Any, **given: Any) -> str:
    """What is said to this attempt."""
    asked: dict[str, Any] = {"settings": {"network": MLP.model_dump()}, "scenario": "domain-il"} | given
    with pytest.raises(InputError) as caught:
        cfsweep.adopt(weights, str(tmp_path / "tasks"), tmp_path / "out", **asked)
    assert not list(tmp_path.glob("*out*"))
    return str(caught.value)


class Code:
    """What runs where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


@pytest.mark.usefixtures("no_program")
def test_no_code_in_a_file_is_run_nor_recommended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ground(tmp_path)
    torch.save({"head.weight": torch.ones(2), "code": Code()}, "code.pt")
    torch.save(own_network((FLAT,), 2), "module.pt")
    for file in ("code.pt", "module.pt"):
        said = refused(tmp_path, file)
        assert said == (
            f"{file}: it holds no weights (beside tensors it has something that would have to be run, or it is no file "
            "of torch.save). Save the model's `state_dict` anew."
        )
    Path("empty.pt").touch()
    assert "it holds no weights (EOFError" in refused(tmp_path, "empty.pt")
    assert not Path("ran").exists()


@pytest.mark.usefixtures("no_program")
def test_tensors_that_are_no_weights(tmp_path: Path) -> None:
    bundle_of(ground(tmp_path), tmp_path / "known", None, UNLIFTABLE)
    weights, network = load_file(tmp_path / "known" / WEIGHTS), {"settings": {"network": UNLIFTABLE.model_dump()}}
    floats = {name: value for name, value in weights.items() if value.is_floating_point()}
    for plain in (torch.Tensor.to_sparse, lambda value: value.to("meta"), lambda value: value.to(torch.complex64)):
        said = refused(tmp_path, {**weights, **{name: plain(value) for name, value in floats.items()}}, **network)
        assert said.startswith("the weights: tensors of real numbers by the names of parameters are needed.")
    assert "by the names of parameters" in refused(tmp_path, {0: torch.ones(2)}, **network)
    said = refused(tmp_path, {name: value.long() for name, value in weights.items()}, **network)
    assert "must hold floating-point numbers, but holds int64. Give another file." in said
    bad = {**weights, "2.running_mean": torch.full_like(weights["2.running_mean"], torch.nan)}
    assert "every weight must be finite" in refused(tmp_path, bad, **network)
    for prefix in ("module.", "_orig_mod."):
        said = refused(tmp_path, {f"{prefix}{name}": value for name, value in weights.items()}, **network)
        assert said.endswith(f". Take `{prefix}` from the names.")
    cfsweep.adopt(
        {name: value.half() if name in floats else value for name, value in weights.items()},
        str(tmp_path / "tasks"),
        tmp_path / "half",
        scenario="domain-il",
        settings=network["settings"],
    )
    assert load_file(tmp_path / "half" / WEIGHTS)["2.running_mean"].dtype == torch.float32


@pytest.mark.usefixtures("no_program")
def test_bad_input(tmp_path: Path) -> None:
    bundle_of(ground(tmp_path), tmp_path / "known", None)
    weights = load_file(tmp_path / "known" / WEIGHTS)
    said = refused(tmp_path, {name: value[:-1] for name, value in weights.items()})
    assert said.startswith("the weights: they are not of network `mlp`: they differ in `")
    assert said.endswith("Name the network that they are of, of 2 outputs, and its arguments.")
    assert "there is no such file" in refused(tmp_path, tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("weights")
    assert f"{tmp_path / 'text.pt'}: it holds no weights (" in refused(tmp_path, tmp_path / "text.pt")
    (tmp_path / "text.safetensors").write_text("weights")
    assert "text.safetensors: it holds no weights (" in refused(tmp_path, tmp_path / "text.safetensors")
    torch.save({"epoch": 3, "state_dict": weights}, tmp_path / "nested.pt")
    assert "by the names of parameters are needed" in refused(tmp_path, tmp_path / "nested.pt")
    bad = {name: torch.full_like(value, torch.nan) for name, value in weights.items()}
    assert "every weight must be finite" in refused(tmp_path, bad)
    assert refused(tmp_path, weights, ingredients=["ewc"]) == (
        "adopt: weights are all that there is, so the model goes on from its weights alone, but `ewc` needs what it "
        "has measured on the examples of each task. Leave it out, or switch it off, `--set ewc_lambda=0`."
    )
    assert "adopt: the space searches `lr`" in refused(tmp_path, weights, settings={"search.lr.choices": [0.1, 0.2]})
    for seed in (-1, 0.5, "1"):
        assert f"adopt: `seed` must be a whole number from 0 on, but got {seed}." in refused(
            tmp_path, weights, seed=seed
        )
    save_file(weights, tmp_path / "known.safetensors")
    with pytest.raises(InputError, match=r"it exists\. Choose another folder"):
        cfsweep.adopt(tmp_path / "known.safetensors", str(tmp_path / "tasks"), tmp_path / "known")
