"""What began with weights from a file, holds some, or knew tasks from the start, goes on from a bundle all the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cfsweep.bundle import continue_, load
from cfsweep.bundle.manifest import STATE
from cfsweep.config import NetworkConfig, Scenario
from cfsweep.testing.packs import MLP, UNLIFTABLE
from cfsweep.training.networks import build, noted
from tests.bundle.test_continued import FLAT, bundle_of, continued_as_whole, write_tasks

pytestmark = pytest.mark.usefixtures("no_program")


def begun(path: Path, network: NetworkConfig = MLP, n_outputs: int = 2, freeze: tuple[str, ...] = ()) -> NetworkConfig:
    """`network` that begins with weights in a file at `path` and holds what `freeze` names."""
    torch.manual_seed(9)
    torch.save(build(network, (FLAT,), n_outputs).state_dict(), path)
    return noted(network.model_copy(update={"init": str(path), "freeze": freeze}))


@pytest.mark.parametrize(
    ("name", "network", "freeze"),
    [
        ("ewc", MLP, ()),
        ("ewc", MLP, ("body.1.*",)),
        ("si", MLP, ("*.bias",)),
        ("l2-sp", MLP, ("head.*",)),
        ("replay", UNLIFTABLE, ("2.*",)),  # with statistics that are held
        ("lwf", UNLIFTABLE, ("1.*",)),  # and that go on
    ],
)
@pytest.mark.parametrize("with_file", [True, False])
def test_it_is_the_run_over_all_tasks(
    name: str, network: NetworkConfig, freeze: tuple[str, ...], with_file: bool, tmp_path: Path
) -> None:
    config = (
        begun(tmp_path / "w.pt", network, freeze=freeze) if with_file else network.model_copy(update={"freeze": freeze})
    )
    given: dict[str, Any] = {"batch_size": 6} if network is UNLIFTABLE else {}
    continued_as_whole(tmp_path, name, network=config, **given)


@pytest.mark.parametrize("scenario", ["class-il", "task-il"])
def test_new_outputs_are_drawn(scenario: Scenario, tmp_path: Path) -> None:
    """Also where the file's output layer had fitted: it knows nothing of them."""
    tasks = write_tasks(tmp_path / "tasks", 3, distinct=True)
    (tasks / "task-2.npz").rename(tmp_path / "task-2.npz")
    network = begun(tmp_path / "w.pt", n_outputs=4, freeze=("body.*",))
    bundle_of(tasks, tmp_path / "model", "ewc", network, scenario=scenario)
    (tmp_path / "w.pt").unlink()
    about = continue_(tmp_path / "model", tmp_path / "task-2.npz", {}, tmp_path / "after")
    assert about.n_outputs == 6
    one, other = (load(tmp_path / folder).network().state_dict() for folder in ("model", "after"))
    assert torch.equal(one["body.1.weight"], other["body.1.weight"])
    assert other["head.weight"].shape == (6, 9)


def test_it_goes_on_from_its_weights_alone(tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "tasks", 3)
    (tasks / "task-2.npz").rename(tmp_path / "task-2.npz")
    bundle_of(tasks, tmp_path / "model", "l2-sp", begun(tmp_path / "w.pt", freeze=("body.1.*",)))
    (tmp_path / "model" / STATE).unlink()
    continue_(tmp_path / "model", tmp_path / "task-2.npz", {}, tmp_path / "after")
    one, other = (load(tmp_path / folder).network().state_dict() for folder in ("model", "after"))
    assert torch.equal(one["body.1.weight"], other["body.1.weight"])
    assert not torch.equal(one["body.3.weight"], other["body.3.weight"])


def test_it_answers_with_what_is_held(tmp_path: Path) -> None:
    tasks = write_tasks(tmp_path / "tasks", 2)
    network = begun(tmp_path / "w.pt", UNLIFTABLE, freeze=("1.*", "2.*"))
    bundle_of(tasks, tmp_path / "model", None, network, batch_size=6)
    held = torch.load(tmp_path / "w.pt")
    (tmp_path / "w.pt").unlink()
    model = load(tmp_path / "model")
    found = model.network().state_dict()
    assert all(torch.equal(found[name], held[name]) for name in found if name[:2] in ("1.", "2."))
    with np.load(tasks / "task-1.npz") as arrays:
        x = torch.from_numpy(arrays["x_test"])
    seen = model.seen(x)
    hidden = torch.relu((seen @ held["1.weight"].T + held["1.bias"]) * (1 + 1e-5) ** -0.5)  # statistics as they began
    expected = hidden @ found["5.weight"].T + found["5.bias"]
    torch.testing.assert_close(model.outputs(x), expected, rtol=1e-4, atol=1e-5)
