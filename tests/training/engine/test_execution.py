"""A network that trains alone comes to the same however it is executed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cfsweep.config import NetworkConfig
from cfsweep.errors import InputError
from cfsweep.testing.packs import CNN, finish, make_pack, small_stream, varied_runs, weights
from cfsweep.training.engine.execution import Execution, forgetful
from cfsweep.training.engine.lift import Lifted
from cfsweep.training.pack import Pack, pack_size, single_run_reason

IN_PARTS = ("ewc", "lwf", "der++", "er-ace", "a-gem")


def normed(input_shape: tuple[int, ...], n_outputs: int, dropout: float = 0.0) -> nn.Module:
    """Convolutions with batch norm."""
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Flatten(),
        nn.Linear(6 * (input_shape[1] - 2) * (input_shape[2] - 2), n_outputs),
    )


NORMED = NetworkConfig(name=f"{__name__}:normed")


def changed(network: NetworkConfig, **how: Any) -> NetworkConfig:
    return network.model_copy(update=how)


def trained(network: NetworkConfig, ingredients: tuple[str, ...] = (), **given: Any) -> Pack:
    return finish(make_pack(small_stream(), ingredients, network=network, optimizer="sgd", batch_size=6, **given))


def assert_near(one: Pack, other: Pack) -> None:
    assert one.records[0].failure is None
    assert np.allclose(one.records[0].test, other.records[0].test, atol=0.13)  # one of 8 examples may turn over
    torch.testing.assert_close(weights(one), weights(other), rtol=2e-3, atol=2e-4)
    for name, value in one.context.statistics().items():
        torch.testing.assert_close(value, other.context.statistics()[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("network", [CNN, NORMED], ids=["cnn", "batch norm"])
def test_images_may_be_laid_out_by_channels(network: NetworkConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    laid_out = []
    one = Lifted.one

    def noted(self: Lifted, parameters: Any, x: Tensor) -> Tensor:
        laid_out.append(x.is_contiguous(memory_format=torch.channels_last))
        return one(self, parameters, x)

    monkeypatch.setattr(Lifted, "one", noted)
    plain = trained(network, ("lwf",))
    laid_out.clear()
    assert_near(trained(changed(network, channels_last=True), ("lwf",)), plain)
    assert all(laid_out)
    assert laid_out


def test_images_of_several_channels_lie_otherwise_and_are_the_same() -> None:
    """Those of one channel, which the test above trains on, lie alike both ways."""
    x = torch.rand(2, 3, 4, 5)
    found = Execution(channels_last=True).laid_out(x)
    assert found.stride() == (60, 1, 15, 3)
    assert torch.equal(found, x)
    assert Execution().laid_out(x) is x


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's compiler asks for it, and hides that elsewhere
@pytest.mark.parametrize("network", [CNN, NORMED], ids=["cnn", "batch norm"])
def test_it_may_be_compiled(network: NetworkConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f: compiled.append(f) or compile_(f, backend="aot_eager"))
    plain = trained(network, ("ewc",))
    assert not compiled
    assert_near(trained(changed(network, compile=True), ("ewc",)), plain)
    assert compiled


@pytest.mark.parametrize("name", IN_PARTS)
def test_a_batch_in_parts_is_the_whole(name: str) -> None:
    """Whatever a remedy's loss looks at; with an odd rest."""
    assert_near(trained(changed(CNN, micro_batch=4), (name,)), trained(CNN, (name,)))


@pytest.mark.parametrize("micro_batch", range(1, 9))
def test_no_rest_of_a_batch_is_one_example_where_three_may_be_in_a_part(micro_batch: int) -> None:
    """Batch norm has no statistics of one."""
    for n in range(2, 40):
        x = torch.arange(n).view(1, n, 1)
        pieces = Execution(micro_batch=micro_batch).pieces(x)
        lengths = [piece.shape[1] for piece in pieces]
        assert torch.equal(torch.cat(pieces, 1), x)
        assert max(lengths) <= micro_batch
        assert len(pieces) == -(-n // micro_batch), "as few as there must be"
        assert micro_batch < 3 or min(lengths) > 1


def test_batch_norm_takes_a_batch_of_one_more_than_its_parts() -> None:
    assert trained(changed(NORMED, micro_batch=5)).records[0].failure is None  # batches of 6


def test_no_more_than_a_micro_batch_is_seen_at_once_in_training() -> None:
    seen: list[int] = []

    def noted(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if module.training:
            seen.append(len(args[0]))

    pack = make_pack(small_stream(), ("der++",), network=changed(CNN, micro_batch=2), batch_size=6)
    pack.context.lifted.module.register_forward_pre_hook(noted)
    finish(pack)
    assert max(seen) == 2


def test_what_is_kept_of_a_batch_is_that_of_its_largest_part() -> None:
    """The largest activation that autograd keeps is one of a micro-batch."""
    kept: list[int] = []
    layer, x = nn.Sequential(nn.Linear(3, 50), nn.Tanh(), nn.Linear(50, 2)), torch.randn(12, 3)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        whole = layer(x)
        n_whole = max(kept)
        kept.clear()
        parts = torch.cat([forgetful(layer, layer, part) for part in x.split(4)])
    assert n_whole == 12 * 50
    assert max(kept, default=0) < 4 * 50
    torch.testing.assert_close(parts, whole)
    by_parts, by_whole = (torch.autograd.grad(of.square().mean(), list(layer.parameters())) for of in (parts, whole))
    torch.testing.assert_close(by_parts, by_whole)


def test_statistics_count_each_micro_batch_once_and_dropout_draws_once() -> None:
    """Its gradient goes through it a second time: with the same numbers, and no more of a say in the statistics."""
    torch.manual_seed(0)
    module, x = normed((1, 6, 6), 4, dropout=0.5), torch.randn(8, 1, 6, 6)
    again = normed((1, 6, 6), 4, dropout=0.5)
    again.load_state_dict(module.state_dict())
    torch.manual_seed(1)
    one = torch.cat([module(part) for part in x.split(4)]).square().mean()
    one.backward()
    torch.manual_seed(1)
    other = torch.cat([forgetful(again, again, part) for part in x.split(4)]).square().mean()
    other.backward()
    torch.testing.assert_close(one, other)
    for mine, theirs in zip(module.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)
    for mine, theirs in zip(module.buffers(), again.buffers(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("how", [{"compile": True}, {"channels_last": True}, {"micro_batch": 3}], ids=str)
def test_such_runs_are_trained_one_at_a_time_and_it_is_said_why(how: dict[str, Any]) -> None:
    network, stream = changed(CNN, **how), small_stream()
    reason = single_run_reason(network, stream, "task-il")
    assert reason == f"network.{next(iter(how))} is for runs that are trained one at a time"
    assert pack_size(network, stream, "task-il", wanted=8) == 1
    with pytest.raises(InputError, match=r"Train it in packs of one run"):
        make_pack(stream, runs=varied_runs((), 2), network=network)
