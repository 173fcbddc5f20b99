"""torchvision's networks by name, with weights from a file as torchvision publishes them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

from cfsweep.config import NetworkConfig
from cfsweep.errors import InputError
from cfsweep.testing.packs import finish, make_pack, values_of
from cfsweep.training.networks import build, head_of, init_note, unliftable_reason
from cfsweep.training.pack import single_run_reason
from cfsweep.training.spec import RunSpec
from cfsweep.training.streams import Stream, Task

SHAPE = (3, 32, 32)


def named(name: str, init: Path | None = None, freeze: tuple[str, ...] = (), **args: Any) -> NetworkConfig:
    return NetworkConfig(name=f"torchvision:{name}", args=args, init=str(init) if init else None, freeze=freeze)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as torchvision's: of 1,000 classes, and without the counters of batches."""
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("hub") / "resnet18-f37072fd.pth"
    state = models.resnet18().state_dict()
    torch.save({name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}, path)
    return path


@pytest.mark.parametrize(
    ("name", "head"),
    [("resnet18", "fc"), ("mobilenet_v3_small", "classifier.3"), ("shufflenet_v2_x0_5", "fc")],
)
def test_it_is_torchvisions_network_with_an_output_for_each_class(name: str, head: str) -> None:
    torch.manual_seed(0)
    found = build(named(name), SHAPE, 4)
    torch.manual_seed(0)
    expected = models.get_model(name, num_classes=4)
    assert head_of(found, 4) == head
    assert all(torch.equal(value, expected.state_dict()[key]) for key, value in found.state_dict().items())
    assert "BatchNorm" in str(unliftable_reason(found, SHAPE)) or "random" in str(unliftable_reason(found, SHAPE))


def test_it_begins_with_published_weights_but_for_the_output_layer(published: Path) -> None:
    network = build(named("resnet18", published), SHAPE, 4)
    known = torch.load(published)
    for name, value in network.state_dict().items():
        if not name.startswith("fc.") and not name.endswith("num_batches_tracked"):
            assert torch.equal(value, known[name])
    note = "`fc.weight` is (1000, 512) in the file, (4, 512) in the network"
    assert init_note(network, "fc", named("resnet18", published)) == note


def pictures() -> Stream:
    """Two tasks of two classes of noise, (3, 32, 32)."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(2).repeat(14) + torch.tensor([0] * 14 + [2] * 14)
    parts = [torch.arange(at, at + 14).split([8, 2, 2, 2]) for at in (0, 14)]
    tasks = [Task(str(k), (2 * k, 2 * k + 1), *(part.numpy() for part in own)) for k, own in enumerate(parts)]
    return Stream("pictures", torch.randn(28, *SHAPE, generator=generator), y, tuple(tasks))


def test_batch_norm_is_trained_one_run_at_a_time_or_held_and_stacked(published: Path) -> None:
    stream, given = pictures(), {"epochs": 1, "batch_size": 4}
    free, held = named("resnet18", published), named("resnet18", published, ("conv1.*", "bn1.*", "layer*"))
    reason = "running statistics, as BatchNorm keeps them"
    assert reason in str(single_run_reason(free, stream, "class-il"))
    assert single_run_reason(held, stream, "class-il") is None
    for network in (free, held):
        runs = tuple(RunSpec(0, seed, values_of((), **given)) for seed in range(1 if network is free else 2))
        pack = make_pack(stream, (), runs, "class-il", network)
        before = {name: value.clone() for name, value in pack.context.lifted.module.named_buffers()}
        finish(pack)
        assert all(record.failure is None for record in pack.records)
        same = [torch.equal(v, before[name]) for name, v in pack.context.lifted.module.named_buffers()]
        assert all(same) == (network is held)
    assert [entry.name for entry in pack.context.layout.entries] == ["fc.weight", "fc.bias"]


@pytest.mark.parametrize(
    ("config", "shape", "line"),
    [
        (
            named("resnet19"),
            SHAPE,
            "`torchvision:resnet19`: unknown network of torchvision `resnet19`. Known, ",
        ),
        (named("resnet18", width=3), SHAPE, "network `torchvision:resnet18`: its arguments {'num_classes': 4, 'width'"),
        (named("resnet18", weights="DEFAULT"), SHAPE, "`weights` would download. Name a file with `network.init`"),
        (
            named("resnet18"),
            (1, 8, 8),
            "must take float32 examples of the shape (n, 1, 8, 8), but failed (RuntimeError",
        ),
        (named("squeezenet1_1"), SHAPE, "its output layer must be an nn.Linear with 4 outputs"),
    ],
)
def test_what_is_refused(config: NetworkConfig, shape: tuple[int, ...], line: str) -> None:
    with pytest.raises(InputError, match=re.escape(line)):
        build(config, shape, 4)


def test_the_unknown_name_of_a_network_tells_of_them() -> None:
    with pytest.raises(InputError, match=r"torchvision:NAME"):
        build(NetworkConfig(name="resnet18"), SHAPE, 4)


def test_its_arguments_reach_torchvision() -> None:
    assert isinstance(build(named("resnet18", zero_init_residual=True), SHAPE, 4), nn.Module)
    weight = build(named("resnet18", zero_init_residual=True), SHAPE, 4).get_parameter("layer1.0.bn2.weight")
    assert not bool(weight.any())
