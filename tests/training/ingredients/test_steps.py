"""Which remedies can do with a task that is not trained."""

from __future__ import annotations

import pytest

from cfsweep.errors import InputError
from cfsweep.testing.packs import values_of
from cfsweep.training.ingredients import ingredient_class, refuse_without_steps, registry

# What goes by the steps of training; a new ingredient is to be put on one side or the other.
BY_STEPS = {"si", "packnet", "der++-online"}


def refusal(name: str, **given: float) -> str | None:
    runs = [values_of((name,)), values_of((name,), **given)]
    try:
        refuse_without_steps([ingredient_class(name)], runs, "here")
    except InputError as error:
        return str(error)
    return None


def test_every_remedy_is_on_one_side() -> None:
    assert {name for name in registry if refusal(name) is not None} == BY_STEPS


def test_what_is_said() -> None:
    assert refusal("si") == (
        "here: a task that the first weights know is not trained, but of its training `si` needs what it has seen of "
        "the steps. Leave it out, or switch it off, `si_c=0`."
    )
    assert "`packnet` needs which weights belong to which task." in str(refusal("packnet"))


def test_one_that_is_off_in_all_runs_needs_nothing() -> None:
    assert refusal("si", si_c=0) is not None
    refuse_without_steps([ingredient_class("si")], [values_of(("si",), si_c=0)], "here")
    with pytest.raises(InputError):
        refuse_without_steps([ingredient_class("si")], [values_of(("si",))], "here")
