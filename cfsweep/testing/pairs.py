"""Do two ingredients go together in one trial?"""

from __future__ import annotations

import torch

from cfsweep.config import SCENARIOS, Scenario
from cfsweep.errors import InputError
from cfsweep.hypers import Value
from cfsweep.testing.packs import (
    assert_same,
    finish,
    make_pack,
    off_values,
    path_to,
    refusal,
    small_stream,
    trained_once,
    varied_runs,
    weights,
)
from cfsweep.training.ingredients import (
    MOVES_FEATURES,
    SOLE,
    ClosedForm,
    Cut,
    Ingredient,
    StopRule,
    hypers_of,
    ingredient_class,
)


def compose_or_are_refused(
    first: type[Ingredient] | str,
    second: type[Ingredient] | str,
    optimizer: str = "adam",
    scenario: Scenario | None = None,
) -> None:
    """Two that cannot be combined, or share no scenario, are refused in one line. Any others go together, in `scenario`
    or the first that they share: switched off they are plain training, with one of them off the other one is what it is
    alone, to the last bit, and with both on a pack of different runs trains to its end.

    Raises:
        AssertionError: they do not.
    """
    one, other = path_to(first), path_to(second)
    kinds = {name: ingredient_class(name) for name in (one, other)}
    if exclude_each_other(kinds[one], kinds[other]):
        _assert_excluded(one, other)
        return
    shared = [s for s in SCENARIOS if all(s in kind.scenarios for kind in kinds.values())]
    if not shared:
        for each in SCENARIOS:
            said = refusal((one, other), each)
            assert said is not None, f"they share no scenario, but were not refused in {each}"
            assert "works in" in said
            assert "\n" not in said
        return
    chosen = scenario or shared[0]
    off = {name: off_values(kind)[0] for name, kind in kinds.items()}
    given: dict[str, Value] = {"optimizer": optimizer, "weight_decay": 0.01, "epochs": 2}
    both_off = make_pack(small_stream(), (one, other), scenario=chosen, **{**given, **off[one], **off[other]})
    assert_same(finish(both_off), trained_once((), chosen, **given))
    for on, absent in ((one, other), (other, one)):
        with_one_off = make_pack(small_stream(), (one, other), scenario=chosen, **{**given, **off[absent]})
        assert_same(finish(with_one_off), trained_once((on,), chosen, **given))
    pack = finish(make_pack(small_stream(), (one, other), varied_runs((one, other), 4, **given), scenario=chosen))
    failures = [record.failure for record in pack.records if record.failure]
    assert not failures, f"runs with both on failed: {failures[0]}"
    assert torch.isfinite(weights(pack)).all()


def exclude_each_other(one: type[Ingredient], other: type[Ingredient]) -> bool:
    """Whether one names the other as excluded, both have a piece that only one of them can, one cuts and the other
    one stops, or one goes by features that the other one moves."""
    both = any(issubclass(one, piece) and issubclass(other, piece) for piece in SOLE)
    cut, stop = (any(issubclass(kind, piece) for kind in (one, other)) for piece in (Cut, StopRule))
    moved = any(
        issubclass(first, ClosedForm) and issubclass(second, MOVES_FEATURES)
        for first, second in ((one, other), (other, one))
    )
    return other.name in one.excludes or one.name in other.excludes or both or (cut and stop) or moved


def _assert_excluded(one: str, other: str) -> None:
    try:
        hypers_of((one, other))
    except InputError as error:
        said = str(error)
    else:
        raise AssertionError(f"`{one}` and `{other}` exclude each other, but were not refused")
    assert said.endswith(". Remove one of them.")
    assert "\n" not in said
