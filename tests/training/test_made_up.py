"""Each made-up example is seen once, and comes from what the task found, whatever training has done since."""

from __future__ import annotations

import pytest
import torch

from cfsweep.config import NetworkConfig
from cfsweep.testing.packs import MLP, UNLIFTABLE, make_pack, small_stream, varied_runs
from cfsweep.training.ingredients import Generator
from cfsweep.training.made_up import MadeUp
from cfsweep.training.pack import Pack

STEPS, PER_STEP = 3, 4


def begun(pack: Pack) -> MadeUp:
    pack.train_next_task()
    pack.stack.fork_rows("later")
    pack.context.lifted.module.eval()
    (ingredient,) = pack.context.ingredients
    assert isinstance(ingredient, Generator)
    return MadeUp.of(pack.context, pack.stack, ingredient, 1, STEPS, PER_STEP)


def test_no_example_is_seen_twice() -> None:
    made_up = begun(make_pack(small_stream(), ("generative-replay",)))
    seen = torch.cat([made_up.examples(step).x[0] for step in range(2 * STEPS)]).flatten(1)
    assert len(seen) == 2 * STEPS * PER_STEP
    assert len(seen.unique(dim=0)) == len(seen)


@pytest.mark.parametrize("network", [MLP, UNLIFTABLE], ids=["mlp", "batch norm and dropout"])
def test_training_in_between_moves_no_bit_of_them_and_they_none_of_it(network: NetworkConfig) -> None:
    pack = make_pack(small_stream(), ("generative-replay",), network=network, generative_labels="distilled")
    made_up = begun(pack)
    first = made_up.examples(STEPS)
    pack.stack.theta.add_(1.0)
    pack.stack.states["generative-replay"]["generators"].add_(1.0)
    for value in pack.context.statistics().values():
        value.add_(1)
    pack.context.lifted.train_mode()
    trained = {name: value.clone() for name, value in pack.context.statistics().items()}
    assert bool(trained) == (network is UNLIFTABLE)
    random = torch.random.get_rng_state()
    again = made_up.rows(slice(0, 1)).examples(STEPS)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert torch.equal(torch.random.get_rng_state(), random)
    assert pack.context.lifted.module.training
    assert all(torch.equal(value, trained[name]) for name, value in pack.context.statistics().items())


def test_rows_alone_get_the_bits_that_they_get_together() -> None:
    runs = varied_runs(("generative-replay",), 3)
    made_up = begun(make_pack(small_stream(), ("generative-replay",), runs))
    together = made_up.examples(1)
    n = len(together.x)
    assert n > 1
    for row in range(n):
        for rows in (slice(row, row + 1), torch.tensor([row])):
            alone = made_up.rows(rows).examples(1)
            assert all(torch.equal(a, b[row : row + 1]) for a, b in zip(alone, together, strict=True))
