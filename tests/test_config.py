"""The description of a study: frozen, strict, and with an identity that its budget has no part in."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from cfsweep.config import RENAMED, Choices, ObjectiveConfig, Range, Space, StreamConfig, StudyConfig

PLAIN = StudyConfig(space=Space())


@pytest.mark.parametrize(
    "change",
    [
        {"trials": 7},
        {"time_budget_s": 60.0},
        {"share_prefix": False},
        {"pack_runs": 64},
        {"stream": StreamConfig(data="/elsewhere")},
        {"stream": StreamConfig(download=True)},
    ],
)
def test_what_changes_no_result_is_no_part_of_the_identity(change: dict[str, object]) -> None:
    assert PLAIN.model_copy(update=change).study_id == PLAIN.study_id


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": 2},
        {"stream": StreamConfig(scenario="class-il")},
        {"stream": StreamConfig(validation_frac=0.2)},
        {"objective": ObjectiveConfig(name="pareto")},
        {"space": Space(fixed={"lr": 0.1})},
        {"sampler_seed": 1},
        {"stop_trials": False},
    ],
)
def test_all_else_is(change: dict[str, object]) -> None:
    assert PLAIN.model_copy(update=change).study_id != PLAIN.study_id


def test_it_survives_a_round_trip() -> None:
    space = Space.model_validate(
        {
            "ingredients": ["ewc"],
            "fixed": {"lr": 0.1, "epochs": 3, "optimizer": "sgd"},
            "search": {"ewc_lambda": {"low": 1, "high": 2}, "ewc_fisher": {"choices": ["true", "empirical"]}},
        }
    )
    study = StudyConfig(space=space)
    again = StudyConfig.model_validate(study.model_dump(mode="json"))
    assert again == study
    assert again.study_id == study.study_id
    assert [type(again.space.search[name]) for name in ("ewc_lambda", "ewc_fisher")] == [Range, Choices]
    assert [type(value) for value in again.space.fixed.values()] == [float, int, str]


def test_it_is_frozen_and_strict() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        PLAIN.seeds = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        StudyConfig.model_validate({"space": {}, "seed": 3})
    with pytest.raises(ValidationError):
        Space.model_validate({"fixed": {"lr": True}})


def test_the_old_name_of_a_setting_still_reads() -> None:
    assert not StudyConfig.model_validate({"space": {}, "early_stopping": False}).stop_trials
    assert set(RENAMED.values()) <= set(StudyConfig.model_fields)
    with pytest.raises(ValidationError, match="`early_stopping` is the old name of `stop_trials`, but got both"):
        StudyConfig.model_validate({"space": {}, "early_stopping": False, "stop_trials": False})


def test_an_infinite_number_is_written_as_it_is() -> None:
    written = StudyConfig.model_validate({"space": {"network": {"args": {"bound": float("inf")}}}})
    assert written.model_dump(mode="json")["space"]["network"]["args"] == {"bound": float("inf")}


def test_objectives_and_their_directions() -> None:
    assert ObjectiveConfig().names == ("mixed",)
    three = ObjectiveConfig(name="pareto", third="train_s")
    assert three.names == ("stability", "plasticity", "train_s")
    assert three.directions == ("maximize", "maximize", "minimize")
    with pytest.raises(ValidationError, match="a third objective needs"):
        ObjectiveConfig(third="train_s")
