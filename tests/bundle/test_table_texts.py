"""A bundle of a table of texts: it answers raw texts and raw tables, goes on with a raw table, and passes a gate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import cfsweep
from cfsweep.bundle.writer import CARD
from cfsweep.errors import InputError
from tests.conftest import Run
from tests.training.streams.tables import as_csv
from tests.training.streams.test_table_texts import ARGS, ENCODER, reviews

pytestmark = pytest.mark.usefixtures("no_program")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFSWEEP_CACHE", str(tmp_path / "cache"))


def begun(table: Path, to: Path, ingredient: str = "slda") -> cfsweep.Model:
    run = cfsweep.train(
        str(table),
        ingredients=[ingredient],
        scenario="domain-il",
        test=True,
        args=ARGS,
        encoder=ENCODER,
        settings={"network.name": "linear", "stream.validation_frac": 0.25},
    )
    run.export(to)
    return cfsweep.load(to)


def test_it_answers_texts_and_tables(tmp_path: Path, run: Run) -> None:
    frame = reviews("pans", "phones")
    table = as_csv(frame, tmp_path / "t.csv")
    model = begun(table, tmp_path / "bundle")
    texts = frame["said"].tolist()
    wanted = model.predict(texts)
    assert sum(one == other for one, other in zip(wanted, frame["mood"], strict=True)) > 70
    assert model.predict(frame) == model.predict(frame[["said"]]) == model.predict(str(table)) == wanted
    assert model.predict(table) == model.predict(frame["said"].to_numpy()) == wanted
    assert torch.equal(model.outputs(model.features(table), encoded=True), model.outputs(texts))
    code, out, _ = run("predict", tmp_path / "bundle", table, "--to", "answers.csv")
    assert (code, out) == (0, "80 rows answered; in answers.csv\n")
    found = pd.read_csv("answers.csv")
    assert found["prediction"].tolist() == wanted
    assert list(found) == ["prediction", "probability=bad", "probability=good"]
    alone = as_csv(frame[["said"]], tmp_path / "alone.csv")
    assert run("predict", tmp_path / "bundle", alone, "--to", "again.csv")[0] == 0
    assert pd.read_csv("again.csv").equals(found)
    assert (
        "The encoder sees the texts of column `said`; the label is `mood`." in (tmp_path / "bundle" / CARD).read_text()
    )


def test_what_is_no_list_of_texts_is_refused(tmp_path: Path) -> None:
    table = as_csv(reviews("pans", "phones"), tmp_path / "t.csv")
    model = begun(table, tmp_path / "bundle")
    odd: list[tuple[Any, str]] = [("a good pan", "one text"), ([1, 2], "list"), (torch.zeros(2, 2), "Tensor")]
    for given, name in odd:
        with pytest.raises(InputError) as caught:
            model.predict(given)
        assert str(caught.value) == (
            f"model: it answers a list of texts, or a table with them, but got {name}. Give a list of texts, such as "
            "[text]."
        )
    with pytest.raises(InputError, match="it lacks `said`"):
        model.predict(pd.DataFrame({"other": ["a good pan"]}))
    with pytest.raises(InputError, match="its examples are features of texts"):
        model.transformed(table)


@pytest.mark.parametrize("ingredient", ["slda", "ranpac"])
def test_it_goes_on_with_a_raw_table_as_a_run_of_all_tasks(tmp_path: Path, run: Run, ingredient: str) -> None:
    some, whole = reviews("pans", "phones"), reviews("pans", "phones", "rooms")
    every = as_csv(whole, tmp_path / "all.csv")
    begun(as_csv(some, tmp_path / "t.csv"), tmp_path / "begun", ingredient)
    one = begun(every, tmp_path / "whole", ingredient)
    new = as_csv(reviews("rooms"), tmp_path / "rooms.csv")
    code, _, err = run("continue", tmp_path / "begun", "--task", new, "--to", tmp_path / "after")
    assert code == 0, err
    other = cfsweep.load(tmp_path / "after")
    assert one.about.encoder == other.about.encoder
    assert other.about.task_names == ("pans", "phones", "rooms")
    texts = whole["said"].tolist()
    torch.testing.assert_close(one.outputs(texts), other.outputs(texts), rtol=1e-3, atol=1e-3)
    code, out, err = run(
        *("gate", "--champion", tmp_path / "begun", "--candidate", tmp_path / "after", "--data", every),
        *("--max-drop", "0.5"),
    )
    assert code == 0, out + err
    code, _, err = run("continue", tmp_path / "begun", "--task", as_csv(some, tmp_path / "u.csv"), "--to", "no")
    assert (code, err.count("\n")) == (2, 1)
    assert not Path("no").exists()
