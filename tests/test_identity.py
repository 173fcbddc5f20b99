"""Which studies are the same, also where cfsweep has got settings and changed defaults in between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, Field, create_model

from cfsweep import config as config_module
from cfsweep import identity
from cfsweep.config import (
    NO_PART_OF_IDENTITY,
    Choices,
    NetworkConfig,
    ObjectiveConfig,
    Range,
    Space,
    StreamConfig,
    StudyConfig,
)

OLD = Path(__file__).parent / "fixtures" / "old_folder" / "study" / "study.yaml"
MODELS: dict[str, type[BaseModel]] = {
    model.__name__: model
    for model in (StudyConfig, Space, NetworkConfig, Range, Choices, StreamConfig, ObjectiveConfig)
}
STUDY: dict[str, Any] = {
    "space": {
        "network": {"name": "mlp", "args": {"hidden": [8, 8]}},
        "ingredients": ["ewc"],
        "fixed": {"lr": 0.1, "optimizer": "sgd"},
        "search": {"ewc_lambda": {"low": 1, "high": 9}, "ewc_mode": {"choices": ["online"]}},
    },
    "stream": {"n_tasks": 5},
    "objective": {"old_weight": 0.25},
    "seeds": 3,
}


def id_of(content: dict[str, Any], model: type[BaseModel] = StudyConfig, version: int = identity.VERSION) -> str:
    study: Any = model.model_validate(identity.with_earlier_defaults(model, {**content, "identity_version": version}))
    found: str = study.study_id
    return found


def extended(name: str, /, **fields: Any) -> type[BaseModel]:
    """`StudyConfig`, but its model `name`, wherever it stands, has these fields, too (or with other defaults)."""

    def made(model: type[BaseModel], changes: dict[str, Any]) -> type[BaseModel]:
        return create_model(model.__name__, __base__=model, **changes)

    models = {**MODELS, name: made(MODELS[name], fields)}
    if name in ("Range", "Choices"):
        searched = dict[str, models["Range"] | models["Choices"]]  # type: ignore[valid-type]
        models["Space"] = made(models["Space"], {"search": (searched, {})})
    if name == "NetworkConfig":
        models["Space"] = made(models["Space"], {"network": (models[name], models[name]())})
    if name == "StudyConfig":
        return models[name]
    inside: dict[str, Any] = {"space": (models["Space"], ...)}
    inside |= {
        key: (models[m], models[m]()) for key, m in (("stream", "StreamConfig"), ("objective", "ObjectiveConfig"))
    }
    return made(StudyConfig, inside)


# ------------------------------------------------------------------------------------------------ one study, one id


@pytest.mark.parametrize(
    "change",
    [
        {"references": True, "sampler_seed": 0},
        {"stream": {"n_tasks": 5, "name": "split-digits", "validation_frac": 0.1, "class_order": "fixed", "args": {}}},
        {"objective": {"old_weight": 0.25, "name": "mixed", "third": None}},
        {"early_stopping": True},
        {"stream": {"n_tasks": 5, "data": "/elsewhere", "download": True}},
        {"space": {**STUDY["space"], "network": {**STUDY["space"]["network"], "init": "/elsewhere/weights.pt"}}},
        {"trials": 7, "time_budget_s": 5.0, "pack_runs": 3, "share_prefix": False},
    ],
)
@pytest.mark.parametrize("version", range(identity.VERSION + 1))
def test_a_study_has_one_id_however_it_is_written(change: dict[str, Any], version: int) -> None:
    assert id_of({**STUDY, **change}, version=version) == id_of(STUDY, version=version)


@pytest.mark.parametrize("version", range(identity.VERSION + 1))
def test_the_order_of_keys_and_the_kind_of_number_are_no_matter(version: int) -> None:
    whole = identity.with_earlier_defaults(StudyConfig, {**STUDY, "identity_version": version})
    written = yaml.safe_dump(StudyConfig.model_validate(whole).model_dump(mode="json"), sort_keys=True)
    assert id_of(yaml.safe_load(written), version=version) == id_of(STUDY, version=version)


@pytest.mark.parametrize("version", range(identity.VERSION + 1))
def test_where_all_is_default_no_place_of_data_makes_another_study(version: int) -> None:
    plain = id_of({"space": {}}, version=version)
    assert id_of({"space": {}, "stream": {"data": "/elsewhere"}}, version=version) == plain
    assert id_of({"space": {}, "stream": {"name": "split-mnist"}}, version=version) != plain


@pytest.mark.parametrize("version", range(identity.VERSION + 1))
def test_seeds_that_are_added_make_no_other_study(version: int) -> None:
    grown = {**STUDY, "seeds": 7, "seeds_at_start": STUDY["seeds"]}
    assert id_of(grown, version=version) == id_of(STUDY, version=version)
    assert id_of({**STUDY, "seeds": 7}, version=version) != id_of(STUDY, version=version)


@pytest.mark.parametrize("version", range(identity.VERSION + 1))
def test_whatever_else_is_said_makes_another_study(version: int) -> None:
    changes: list[tuple[tuple[str, ...], Any]] = [
        (("seeds",), 4),
        (("purpose",), "confirm"),
        (("first_seed",), 10_000),
        (("stop_trials",), False),
        (("curve_points_per_task",), 2),
        (("references",), False),
        (("sampler_seed",), 1),
        (("objective", "name"), "pareto"),
        (("stream", "scenario"), "class-il"),
        (("stream", "args"), {"a": 1}),
        (("space", "description"), "x"),
        (("space", "network", "args"), {"hidden": [8]}),
        (("space", "ingredients"), ["ewc", "replay"]),
        (("space", "fixed", "lr"), 0.2),
        (("space", "search", "ewc_lambda", "zero"), True),
        (("space", "search", "ewc_mode", "choices"), ["separate"]),
        (("space", "search", "ewc_lambda", "whole"), True),
        (("space", "trainer"), "package.module:train"),
        (("stream", "target"), "package.module:Regression"),
        (("stream", "standardise"), "channel"),
        (("stream", "steering_frac"), 0.1),
        (("stream", "splits"), 2),
        (("stream", "learned"), 1),
        (("space", "network", "init_sha256"), "ab"),
        (("space", "network", "freeze"), ["body.*"]),
        (("stream", "encoder"), "package.module:encoder"),
        (("stream", "encoder_args"), {"size": 64}),
        (("stream", "augment"), ["crop"]),
    ]
    ids = [id_of(STUDY, version=version)]
    for path, value in changes:
        content = yaml.safe_load(yaml.safe_dump(STUDY))
        place = content
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = value
        ids.append(id_of(content, version=version))
    assert len(set(ids)) == len(changes) + 1


def test_data_of_ones_own_are_told_by_what_they_are_and_once_by_where_they_lay() -> None:
    def id_at(version: int, name: str, own_data: str | None) -> str:
        return id_of({**STUDY, "stream": {"name": name, "own_data": own_data}}, version=version)

    for version in range(identity.VERSION + 1):
        by_data = version >= identity.BY_DATA
        assert (id_at(version, "/a", "12") == id_at(version, "/b", "12")) is by_data
        assert (id_at(version, "/a", "12") == id_at(version, "/a", "34")) is not by_data
        assert id_at(version, "a:f", None) != id_at(version, "b:f", None), "a function has no place"


# ------------------------------------------------------------------------------------------------ older studies


def test_the_id_of_an_old_folder_is_reproduced() -> None:
    """That one was written with all its settings, `early_stopping` among them."""
    study = yaml.safe_load(OLD.read_text())
    assert "early_stopping" in study["config"]
    assert "identity_version" not in study["config"]
    assert study["study_id"] == "cfcce349289c"
    assert id_of(study["config"], version=0) == "cfcce349289c"
    assert id_of(study["config"], version=1) != "cfcce349289c"


@pytest.mark.parametrize("version", range(identity.VERSION + 1))
@pytest.mark.parametrize("name", MODELS)
def test_a_new_setting_with_a_default_changes_no_id(name: str, version: int) -> None:
    newer = extended(name, brand_new=(int, Field(default=3)), shade=(dict[str, int], {}))
    assert id_of(STUDY, newer, version) == id_of(STUDY, version=version)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("StudyConfig", ()),
        ("Space", ("space",)),
        ("NetworkConfig", ("space", "network")),
        ("Range", ("space", "search", "ewc_lambda")),
        ("StreamConfig", ("stream",)),
    ],
)
def test_whoever_uses_a_new_setting_has_another_study(name: str, path: tuple[str, ...]) -> None:
    newer, content = extended(name, brand_new=(int, 3)), yaml.safe_load(yaml.safe_dump(STUDY))
    place = content
    for key in path:
        place = place[key]
    place["brand_new"] = 4
    assert id_of(content, newer) != id_of(STUDY)


CHANGED: list[tuple[str, str, Any, Any, tuple[str, ...]]] = [
    ("StudyConfig", "references", True, False, ()),
    ("StreamConfig", "validation_frac", 0.1, 0.2, ("stream",)),
    ("NetworkConfig", "name", "mlp", "cnn", ("space", "network")),
    ("Range", "log", False, True, ("space", "search", "ewc_lambda")),
]


@pytest.mark.parametrize(
    "study", [STUDY, {"space": {"search": {"ewc_lambda": {"low": 1, "high": 9}}}}], ids=["", "plain"]
)
@pytest.mark.parametrize(("name", "setting", "then", "now", "path"), CHANGED, ids=lambda value: str(value))
def test_a_changed_default_leaves_the_ids_of_earlier_versions(
    name: str,
    setting: str,
    then: Any,
    now: Any,
    path: tuple[str, ...],
    study: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is to be done where a default changes: `VERSION` goes up, and the default of before is noted."""
    kind = MODELS[name].model_fields[setting].annotation
    newer = extended(name, **{setting: (kind, now)})

    def with_value(value: Any) -> dict[str, Any]:
        content: dict[str, Any] = yaml.safe_load(yaml.safe_dump(study))
        place = content
        for key in path:
            place = place.setdefault(key, {})
        place[setting] = value
        return content

    latest = identity.VERSION
    versions = range(latest + 1)
    before = {version: [id_of(with_value(value), version=version) for value in (then, now)] for version in versions}
    assert before[latest][0] == id_of(study)
    assert id_of(with_value(then), newer) != before[latest][0], "without the two steps its id would be lost"
    noted = {version: {**of, (name, setting): then} for version, of in identity.EARLIER_DEFAULTS.items()}
    monkeypatch.setattr(identity, "EARLIER_DEFAULTS", {**noted, latest + 1: {}})
    for version in versions:  # in a study.yaml every setting is written out
        assert [id_of(with_value(value), newer, version) for value in (then, now)] == before[version]
    newest, hashed = newer.model_validate(with_value(now)), identity.study_id
    assert hashed(newest, latest + 1, NO_PART_OF_IDENTITY) != hashed(newest, latest, NO_PART_OF_IDENTITY)


def test_each_version_has_its_earlier_defaults() -> None:
    assert set(identity.EARLIER_DEFAULTS) == set(range(identity.VERSION + 1))
    for found in identity.EARLIER_DEFAULTS.values():
        for name, setting in found:
            assert setting in MODELS[name].model_fields


REQUIRED = "(required)"
DEFAULTS: dict[str, dict[str, Any]] = {
    "StudyConfig": {
        "purpose": "sweep",
        "space": REQUIRED,
        "seeds": 1,
        "first_seed": 0,
        "seeds_at_start": None,
        "trials": 48,
        "time_budget_s": None,
        "sampler_seed": 0,
        "stop_trials": True,
        "references": True,
        "pack_runs": "auto",
        "share_prefix": True,
        "curve_points_per_task": 0,
        "identity_version": 3,
    },
    "Space": {"description": "", "scenario": None, "ingredients": (), "fixed": {}, "search": {}, "trainer": None},
    "NetworkConfig": {
        "name": "mlp",
        "args": {},
        "init": None,
        "init_sha256": None,
        "freeze": (),
        "compile": False,
        "channels_last": False,
        "micro_batch": None,
    },
    "Range": {"low": REQUIRED, "high": REQUIRED, "log": False, "zero": False, "whole": False},
    "Choices": {"choices": REQUIRED},
    "StreamConfig": {
        "name": "split-digits",
        "scenario": "task-il",
        "data": None,
        "download": False,
        "class_order": "fixed",
        "n_tasks": None,
        "validation_frac": 0.1,
        "steering_frac": None,
        "split_seed": 0,
        "splits": 1,
        "learned": 0,
        "validation": None,
        "target": "classification",
        "scores": (),
        "positive": None,
        "class_weights": None,
        "standardise": None,
        "augment": (),
        "args": {},
        "encoder": None,
        "encoder_args": {},
        "own_data": None,
    },
    "ObjectiveConfig": {"name": "mixed", "old_weight": 0.5, "third": None},
}


def test_the_defaults_are_those_of_this_version() -> None:
    found: dict[str, dict[str, Any]] = {}
    for name, model in MODELS.items():
        defaults = {key: field.get_default(call_default_factory=True) for key, field in model.model_fields.items()}
        found[name] = {
            key: REQUIRED if model.model_fields[key].is_required() else value
            for key, value in defaults.items()
            if not isinstance(value, BaseModel)
        }
    assert found == DEFAULTS, (
        "A default has changed, or a setting came or went. A new setting whose default means what was before: add it "
        "to `DEFAULTS` here. A changed default: raise `VERSION` in cfsweep/identity.py, note there in "
        "`EARLIER_DEFAULTS` the default that earlier versions had, for each of them, and change it here. A setting "
        "that went or was renamed: studies that say it must still read (`RENAMED` in cfsweep/config.py) and keep "
        "their ids."
    )


def test_every_model_of_a_study_is_looked_after_here() -> None:
    frozen = {
        name for name, kind in vars(config_module).items() if isinstance(kind, type) and issubclass(kind, BaseModel)
    }
    assert frozen - {"BaseModel", "Frozen"} == set(MODELS)


def test_ids_of_this_version_stay() -> None:
    """These may never change: there are folders with them."""
    assert id_of({"space": {}}, version=1) == "1be751836a4b"
    assert id_of(STUDY, version=1) == "1780bd4ce5ec"
    assert id_of(STUDY, version=0) == "e4420b46cded"
    assert id_of({"space": {}}, version=0) == "f52d3e028084"


def test_what_went_without_saying_is_filled_in_for_older_studies_alone() -> None:
    for content, found in (
        ({"identity_version": 0, "space": {}}, {"standardise": "scalar"}),
        ({"identity_version": 1, "stream": {"name": "x"}}, {"name": "x", "standardise": "scalar"}),
        ({"identity_version": 1, "stream": {"standardise": "none"}}, {"standardise": "none"}),
        ({"identity_version": 2, "stream": {"name": "x"}}, {"name": "x"}),
    ):
        assert identity.with_earlier_defaults(StudyConfig, content)["stream"] == found
        assert content.get("stream", {}) != {"standardise": "scalar"}, "the content itself is left alone"
