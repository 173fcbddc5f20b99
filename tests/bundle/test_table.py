"""A bundle of a model that was trained on a table: it takes raw rows, and goes on with raw months."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch

from cfsweep.bundle import Manifest, continue_, load, of_pack, write
from cfsweep.bundle.described import origin_of
from cfsweep.bundle.paired import paired_answers
from cfsweep.bundle.table import PREPROCESSING
from cfsweep.config import Scenario, Space, StreamConfig, StudyConfig
from cfsweep.errors import InputError
from cfsweep.testing.packs import MLP, finish, values_of
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec, RunSpec
from cfsweep.training.streams import Stream, load_stream
from tests.bundle.test_continued import ABOUT, same
from tests.training.streams.tables import ARGS, as_csv, as_parquet, months

pytestmark = pytest.mark.usefixtures("no_program")
BY_MONTH: dict[str, Any] = ARGS
BY_DATE: dict[str, Any] = {"target": "churned", "date": "day", "windows": ["2024-01-01", "2024-02-01", "2024-03-01"]}


def config_of(path: Path, args: dict[str, Any], scenario: Scenario = "domain-il", splits: int = 1) -> StreamConfig:
    shares = {"validation_frac": 0.2, "steering_frac": 0.1}
    return StreamConfig(name=str(path), scenario=scenario, args=args, splits=splits, **shares)


def trained(config: StreamConfig) -> Pack:
    run, split = RunSpec(4, 1, values_of(("replay",))), config.split_of(1)
    parts = ("validation", "test")
    spec = PackSpec(MLP, config.scenario, ("replay",), (run,), split=split, parts=parts, keep_models=True)
    return finish(Pack(spec, load_stream(config).of_split(split)))


def study_of(config: StreamConfig) -> StudyConfig:
    return StudyConfig(purpose="confirm", space=Space(ingredients=("replay",)), stream=config)


def bundle_of(
    path: Path, to: Path, args: dict[str, Any], scenario: Scenario = "domain-il", splits: int = 1
) -> Manifest:
    config = config_of(path, args, scenario, splits)
    return write(trained(config), study_of(config), ABOUT, to)


def refused(call: Any, *given: Any) -> str:
    with pytest.raises(InputError) as caught:
        call(*given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("preprocessing", ["first", "past"])
@pytest.mark.parametrize("whole_table", [False, True])
@pytest.mark.parametrize("by", [BY_MONTH, {**BY_MONTH, "date": "day"}, {**BY_DATE, "drop": ["month"]}])
def test_a_month_that_comes_later_makes_the_model_of_a_table_that_had_it(
    tmp_path: Path, by: dict[str, Any], whole_table: bool, preprocessing: str
) -> None:
    """To the last bit, from a file of the month alone or from the table that has grown."""
    args, fewer = {**by, "preprocessing": preprocessing}, {**by, "preprocessing": preprocessing}
    if "windows" in by:
        fewer["windows"] = by["windows"][:2]
    every, some = as_csv(months(0, 3), tmp_path / "all.csv"), as_csv(months(0, 2), tmp_path / "some.csv")
    new = every if whole_table else as_parquet(months(2, 1), tmp_path / "new.parquet")
    whole = bundle_of(every, tmp_path / "whole", args)
    bundle_of(some, tmp_path / "after-1", fewer)
    about = continue_(tmp_path / "after-1", new, {}, tmp_path / "after-2")
    same(tmp_path / "after-2", tmp_path / "whole")
    mine, theirs = (load(tmp_path / name).preprocessing for name in ("after-2", "whole"))
    assert mine is not None
    assert theirs is not None
    assert mine.model_dump(exclude={"settings"}) == theirs.model_dump(exclude={"settings"})
    assert len(mine.fitted) == (1 if preprocessing == "first" else 3)
    told = {
        "created_at",
        "continues",
        "scores",
        "constant",
        "files",
        "git_revision",
        "stream",
        "stream_config",
        "data_sha256",
    }
    assert about.model_dump(exclude=told) == whole.model_dump(exclude=told)
    score, _, pairs, _ = paired_answers(tmp_path / "after-1", tmp_path / "after-2", None, str(every))
    assert (score, len(pairs)) == ("accuracy", 3)
    by_data = paired_answers(tmp_path / "after-1", tmp_path / "after-2", str(every)).answers
    assert all(np.array_equal(one.candidate, other.candidate) for one, other in zip(pairs, by_data, strict=True))


@pytest.mark.parametrize("preprocessing", ["first", "past"])
def test_so_does_one_that_comes_to_a_model_of_one_split_of_several(tmp_path: Path, preprocessing: str) -> None:
    args = {**BY_MONTH, "preprocessing": preprocessing}
    bundle_of(as_csv(months(0, 3), tmp_path / "all.csv"), tmp_path / "whole", args, splits=3)
    bundle_of(as_csv(months(0, 2), tmp_path / "some.csv"), tmp_path / "after-1", args, splits=3)
    continue_(tmp_path / "after-1", as_csv(months(2, 1), tmp_path / "new.csv"), {}, tmp_path / "after-2")
    same(tmp_path / "after-2", tmp_path / "whole")


@pytest.mark.parametrize("preprocessing", ["first", "past"])
def test_amounts_go_on_as_words_do(tmp_path: Path, preprocessing: str) -> None:
    args = {"target": "income", "task": "month", "drop": ["churned"], "preprocessing": preprocessing}

    def made(path: Path, to: Path) -> None:
        config = config_of(path, args).model_copy(update={"target": "regression"})
        write(trained(config), study_of(config), ABOUT, to)

    made(as_csv(months(0, 3), tmp_path / "all.csv"), tmp_path / "whole")
    made(as_csv(months(0, 2), tmp_path / "some.csv"), tmp_path / "after-1")
    continue_(tmp_path / "after-1", as_csv(months(2, 1), tmp_path / "new.csv"), {}, tmp_path / "after-2")
    same(tmp_path / "after-2", tmp_path / "whole", 1e-5)  # the units are float32 in a bundle
    said = load(tmp_path / "after-2").predict(months(2, 1).drop(columns="income"))
    assert all(isinstance(one, float) for one in said)


@pytest.mark.parametrize("preprocessing", ["first", "past"])
def test_raw_rows_are_answered_as_the_trainer_did_in_the_users_words(tmp_path: Path, preprocessing: str) -> None:
    frame = months(0, 2)
    path = as_csv(frame, tmp_path / "t.csv")
    config = config_of(path, {**BY_MONTH, "preprocessing": preprocessing}, "task-il")
    pack = trained(config)
    write(pack, study_of(config), ABOUT, tmp_path / "bundle")
    model, stream = load(tmp_path / "bundle"), pack.stream
    assert model.about.class_ids == ("left", "stayed")
    in_memory = of_pack(pack, origin_of(pack, study_of(config), ABOUT))
    for number, month in enumerate(("2024-01", "2024-02")):
        own = frame[frame["month"] == month].sample(frac=1, random_state=0)
        raw = as_csv(own.drop(columns=["churned", "month"]), tmp_path / "raw.csv")
        x = model.transformed(raw, number)
        mine = {tuple(row) for row in x.tolist()}
        theirs = stream.x[np.concatenate(list(stream.tasks[number].parts.values()))]
        assert mine == {tuple(row) for row in theirs.tolist()}
        said = model.predict(raw, number)
        assert said == model.predict(x, number)
        assert set(said) <= {"left", "stayed"}
        typed = own.assign(member=own["member"].astype(object), since=own["since"].astype(str))
        forms = [own, typed, pa.Table.from_pandas(own), own.assign(further="column")]
        for form in (*forms, as_parquet(own, tmp_path / "r.parquet")):
            assert torch.equal(model.transformed(form, number), x)
            assert in_memory.predict(form, number) == said


def test_what_is_no_row_of_the_table_is_refused(tmp_path: Path) -> None:
    bundle_of(as_csv(months(0, 2), tmp_path / "t.csv"), tmp_path / "bundle", {**BY_MONTH, "unknown": "refuse"})
    model, frame = load(tmp_path / "bundle"), months(2, 1)
    assert "lacks `age`" in refused(model.predict, frame.drop(columns="age"))
    line = refused(model.predict, frame.assign(age="old"))
    assert line == "table, column `age`, row 1: numbers are needed, but got `old`. Mend it"
    frame.loc[4, "plan"] = "gold"
    line = refused(model.predict, frame)
    assert line.startswith("table, column `plan`, row 5: words must be among those of the first task's training rows (")
    assert line.endswith("), but got `gold`. Mend it")
    assert "no table is there" in refused(model.predict, tmp_path / "nowhere.csv")
    assert "it is no table that can be read" in refused(model.predict, 3)


def test_a_next_table_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    bundle, table = tmp_path / "bundle", as_csv(months(0, 2), tmp_path / "t.csv")
    bundle_of(table, bundle, BY_MONTH)

    def said_of(frame: pd.DataFrame) -> str:
        path = as_csv(frame, tmp_path / "new.csv")
        return refused(continue_, bundle, path, {}, tmp_path / "next")

    new = months(2, 1)
    several = "it must hold one task that the bundle has not learned, but has `2024-03`, `2024-04`"
    assert several in said_of(months(2, 2))
    assert "but has none" in said_of(months(1, 1))
    assert "lacks `age`" in said_of(new.drop(columns="age"))
    assert "it must have the columns that the model was trained on, but has `more`, too" in said_of(new.assign(more=1))
    third = new.assign(churned=np.resize(["left", "stayed", "maybe"], len(new)))
    remedy = "Mend or drop the row, or train all tasks again in class-il or task-il"
    line = f"--task {tmp_path / 'new.csv'}, column `churned`, row 3: in domain-il the bundle has 2 outputs for good,"
    assert said_of(third) == f"{line} for labels left, stayed, but got `maybe`. {remedy}"
    new.loc[40, "churned"] = "maybe"  # too few to cut, but that is not what is wrong
    assert "column `churned`, row 41: in domain-il" in said_of(new)
    both = pd.concat([months(0, 2), new], ignore_index=True)
    assert f"column `churned`, row {len(both) - len(new) + 41}: in domain-il" in said_of(both), "counted in the file"
    new = months(2, 1)
    income = "column `income`, row 1: numbers are needed, but got `x`. Mend it"
    assert said_of(new.assign(income="x")).endswith(income), "there is no --arg to advise"
    line = refused(continue_, bundle, table, {}, tmp_path / "next")
    assert "but has none" in line or "has learned it already" in line


def test_the_gate_advises_no_argument_that_it_lacks(tmp_path: Path) -> None:
    bundle_of(as_csv(months(0, 2), tmp_path / "t.csv"), tmp_path / "bundle", BY_MONTH)
    frame = months(0, 2).astype({"age": object})
    frame.loc[len(frame) - 1, "age"] = "old"
    other = str(as_csv(frame, tmp_path / "other.csv"))
    line = refused(paired_answers, tmp_path / "bundle", tmp_path / "bundle", None, other)
    assert line.endswith(f"row {len(frame)}: numbers are needed, but got `old`. Mend it")
    (tmp_path / "tasks").mkdir()
    for number in range(2):
        x = np.random.default_rng(number).normal(size=(40, 4))
        np.savez(tmp_path / "tasks" / f"{number}.npz", x_train=x, y_train=np.resize([0, 1], 40))
    folder = StreamConfig(name=str(tmp_path / "tasks"), scenario="domain-il", validation_frac=0.2)
    write(trained(folder), study_of(folder), ABOUT, tmp_path / "no-table")
    assert refused(paired_answers, tmp_path / "no-table", tmp_path / "no-table", None, other) == (
        f"--stream {other}: the bundle was trained on `{folder.name}`, not on a file. Name that, where it is now."
    )


def test_a_second_task_whose_labels_are_all_its_own_is_taken(tmp_path: Path) -> None:
    """In domain-il an output is then a class's place within its task."""
    bundle_of(as_csv(months(0, 1), tmp_path / "t.csv"), tmp_path / "bundle", BY_MONTH)
    new = months(1, 1).assign(churned=lambda f: np.where(f["churned"] == "left", "out", "in"))
    about = continue_(tmp_path / "bundle", as_csv(new, tmp_path / "new.csv"), {}, tmp_path / "next")
    assert [info.labels for info in about.tasks] == [("left", "stayed"), ("in", "out")]


def test_a_month_without_its_name_is_called_by_its_file_and_labels_stay_words(tmp_path: Path) -> None:
    frame = months(0, 2).assign(churned=lambda f: np.where(f["churned"] == "left", "1", "x"))
    bundle_of(as_csv(frame, tmp_path / "t.csv"), tmp_path / "bundle", BY_MONTH, "class-il")
    new = months(2, 1).drop(columns="month").assign(churned=lambda f: np.where(f["churned"] == "left", "1", "2"))
    about = continue_(tmp_path / "bundle", as_csv(new, tmp_path / "march.csv"), {}, tmp_path / "next")
    assert about.tasks[-1].name == "march"
    assert about.class_ids == ("1", "x", "2"), "a word that looks like a number is a word in a bundle of words"


def test_labels_of_a_bundle_of_numbers_must_be_some(tmp_path: Path) -> None:
    frame = months(0, 2).assign(churned=lambda f: (f["churned"] == "left").astype(int))
    bundle_of(as_csv(frame, tmp_path / "t.csv"), tmp_path / "bundle", BY_MONTH, "class-il")
    new = as_csv(months(2, 1), tmp_path / "new.csv")
    line = refused(continue_, tmp_path / "bundle", new, {}, tmp_path / "next")
    assert "column `churned`, row 1: labels must be whole numbers as those that the bundle has learned" in line


def test_words_in_a_folder_of_tasks_stay_words_and_are_told_from_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "tasks"
    folder.mkdir()
    for number, names in enumerate((("cat", "dog"), ("1", "cat"))):
        labels = np.resize(names, 40)
        np.savez(folder / f"t{number}.npz", x_train=rng.normal(size=(40, 4)).astype(np.float32), y_train=labels)
    config = StreamConfig(name=str(folder), scenario="class-il", validation_frac=0.2)
    stream: Stream = load_stream(config)
    assert stream.class_ids == ("1", "cat", "dog")
    write(trained(config), study_of(config), ABOUT, tmp_path / "bundle")
    model = load(tmp_path / "bundle")
    assert model.about.class_ids == ("1", "cat", "dog")
    assert set(model.predict(stream.x[:20])) <= {"1", "cat", "dog"}
    np.savez(tmp_path / "n.npz", x_train=rng.normal(size=(40, 4)).astype(np.float32), y_train=np.resize([1, 2], 40))
    line = refused(continue_, tmp_path / "bundle", tmp_path / "n.npz", {}, tmp_path / "next")
    assert "labels must be words as those of the bundle, but are whole numbers" in line
    np.savez(folder / "t2.npz", x_train=rng.normal(size=(40, 4)).astype(np.float32), y_train=np.resize([1, 2], 40))
    assert "labels must be words in all tasks or whole numbers in all" in refused(load_stream, config)


def test_what_was_fitted_is_held_against_its_hash(tmp_path: Path) -> None:
    bundle_of(as_csv(months(0, 2), tmp_path / "t.csv"), tmp_path / "bundle", BY_MONTH)
    path = tmp_path / "bundle" / PREPROCESSING
    content = json.loads(path.read_text())
    assert content["settings"]["target"] == "churned"
    content["fitted"][0][1]["mean"] += 1
    path.write_text(json.dumps(content))
    assert f"{PREPROCESSING}: it was changed since the bundle was written" in refused(load, tmp_path / "bundle")
    card = (tmp_path / "bundle" / "MODEL_CARD.md").read_text()
    assert "| `plan` | category | `NA`, `basic`" in card


def test_a_bundle_of_other_data_transforms_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "tasks"
    folder.mkdir()
    np.savez(folder / "a.npz", x_train=rng.normal(size=(40, 4)), y_train=np.resize([0, 1], 40))
    config = StreamConfig(name=str(folder), scenario="domain-il", validation_frac=0.2)
    write(trained(config), study_of(config), ABOUT, tmp_path / "bundle")
    assert not (tmp_path / "bundle" / PREPROCESSING).exists()
    assert "it was not trained on a table" in refused(load(tmp_path / "bundle").transformed, months(0, 1))
