"""An optimizer that goes on from task to task: as torch's own would, and the same after a checkpoint."""

from __future__ import annotations

import pytest
import torch

from cfsweep.config import NetworkConfig, StreamConfig
from cfsweep.hypers import Value
from cfsweep.training.batches import orders
from cfsweep.training.ingredients import hypers_of
from cfsweep.training.outputs import outputs_for
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec, RunSpec
from cfsweep.training.streams import Stream, load_stream

VALUES: dict[str, Value] = {"epochs": 1, "batch_size": 64, "lr": 0.01, "optimizer_state": "kept"}


@pytest.fixture(scope="module")
def stream() -> Stream:
    return load_stream(StreamConfig(name="split-digits", scenario="domain-il"))


def pack(stream: Stream, **changes: Value) -> Pack:
    values = {name: hyper.default for name, hyper in hypers_of(()).items()}
    runs = tuple(RunSpec(0, seed, {**values, **VALUES, **changes}) for seed in (0, 1))
    return Pack(PackSpec(NetworkConfig(args={"hidden": [8]}), "domain-il", (), runs), stream)


def finish(pack: Pack) -> torch.Tensor:
    while not pack.done:
        pack.step()
    return pack.stack.theta


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_it_goes_on_as_torchs_own_optimizer(stream: Stream, optimizer: str) -> None:
    whole = pack(stream, optimizer=optimizer)
    outputs = outputs_for(stream, "domain-il")
    theta = whole.stack.theta[0].clone().requires_grad_(True)
    own = torch.optim.Adam([theta], lr=0.01) if optimizer == "adam" else torch.optim.SGD([theta], lr=0.01, momentum=0.9)
    for task in range(len(stream.tasks)):
        (order,) = orders(whole.spec.runs[:1], stream.tasks[task].train, task, 1, 64, (), {})
        for at in range(0, order.shape[-1], 64):
            rows = torch.from_numpy(order[0, at : at + 64])
            logits = whole.lifted.one(whole.layout.unflatten(theta), whole.store[rows])
            own.zero_grad()
            torch.nn.functional.cross_entropy(logits, outputs.labels[rows]).backward()
            own.step()
    torch.testing.assert_close(finish(whole)[0], theta.detach(), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(finish(pack(stream, optimizer=optimizer, optimizer_state="fresh"))[0], theta, atol=1e-3)


def test_a_restored_pack_goes_on_to_the_last_bit(stream: Stream) -> None:
    straight, broken = pack(stream), pack(stream)
    while not broken.done:
        broken.step()
        if not broken.done:
            broken = Pack.restore(broken.checkpoint(), stream)
    assert torch.equal(finish(straight), broken.stack.theta)
