"""Which settings act: by hand; that the others change no bit is for the conformance of ingredients."""

from __future__ import annotations

from typing import Any

import pytest

from cfsweep.testing import finish, make_pack, small_stream, values_of
from cfsweep.testing.packs import assert_same
from cfsweep.training.acting import acting, idle


@pytest.mark.parametrize(
    ("ingredients", "given", "names"),
    [
        ((), {"optimizer": "sgd"}, set()),
        ((), {"optimizer": "adamw"}, {"momentum"}),
        (("ewc",), {"optimizer": "sgd", "ewc_mode": "online"}, set()),
        (("ewc",), {"optimizer": "sgd", "ewc_lambda": 0.0}, {"ewc_gamma", "ewc_mode", "ewc_fisher", "ewc_examples"}),
        (("replay",), {"optimizer": "sgd", "replay_buffer": 0}, {"replay_ratio", "replay_mode"}),
        (("replay",), {"optimizer": "sgd", "replay_buffer": 0, "replay_ratio": 0.0}, {"replay_mode"}),
        (("packnet",), {"optimizer": "sgd", "packnet_schedule": "equal"}, {"packnet_rate"}),
        (
            ("packnet",),
            {"optimizer": "sgd", "packnet_schedule": "equal", "packnet_rate": 0.0},
            {"packnet_schedule", "packnet_retrain_frac"},
        ),
        (("freeze",), {"optimizer": "sgd", "freeze_depth": 0}, set()),  # layers by name would switch it on
        (("freeze",), {"optimizer": "sgd", "freeze_depth": 0, "freeze_layers": "body.1"}, set()),
    ],
)
def test_what_cannot_act(ingredients: tuple[str, ...], given: dict[str, Any], names: set[str]) -> None:
    assert set(idle(ingredients, values_of(ingredients, **given))) == names


def test_whatever_switched_it_off_it_is_the_same() -> None:
    off = [{"replay_ratio": 0.0}, {"replay_buffer": 0}, {"replay_ratio": 0.0, "replay_mode": "class-balanced"}]
    found = [acting(("replay",), values_of(("replay",), **given)) for given in off]
    assert found[0] == found[1] == found[2]
    assert found[0] != acting(("replay",), values_of(("replay",)))


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_momentum_is_none_of_adam(optimizer: str) -> None:
    """Only of sgd, as it says."""
    one, other = (
        finish(make_pack(small_stream(), (), optimizer=optimizer, momentum=momentum)) for momentum in (0.1, 0.9)
    )
    assert_same(one, other)
