"""A table with a column of texts: what an encoder sees, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from cfsweep.errors import InputError
from cfsweep.training.streams import Stream
from tests import own_encoders
from tests.training.streams.tables import as_csv, as_parquet, load

ENCODER = "tests.own_encoders:lengths"
ARGS: dict[str, Any] = {"target": "mood", "task": "domain"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFSWEEP_CACHE", str(tmp_path / "cache"))


def reviews(*domains: str, n: int = 40) -> pd.DataFrame:
    """Rows of each domain: a good one is longer than a bad one."""
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "domain": domain,
                    "said": [f'"{domain}", {k} of {"so very " * 9 * (k % 2)}many' for k in range(n)],
                    "mood": np.resize(["bad", "good"], n),
                }
            )
            for domain in domains
        ],
        ignore_index=True,
    )


def encoded(path: Path, args: dict[str, Any] | None = None) -> Stream:
    return load(path, {**ARGS, **(args or {})}, encoder=ENCODER)


def refused(path: Path, args: dict[str, Any] | None = None, **settings: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(path, {**ARGS, **(args or {})}, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("write", [as_csv, as_parquet])
def test_the_encoder_sees_the_texts(tmp_path: Path, write: Any) -> None:
    frame = reviews("pans", "phones")
    stream = encoded(write(frame, tmp_path / ("t.csv" if write is as_csv else "t.parquet")))
    wanted = torch.from_numpy(np.asarray(own_encoders.lengths()(frame["said"].tolist()), np.float32))
    assert stream.x.shape == (80, 2)
    assert sorted(map(tuple, stream.x.tolist())) == sorted(map(tuple, wanted.tolist()))
    labels = stream.user_labels(np.arange(80))
    long = stream.x[:, 0] > 50
    assert [label == "good" for label in labels] == long.tolist()
    assert stream.encoder is not None
    assert stream.encoder.input_shape is None
    assert stream.standardised == "feature"
    seen = (stream.x[stream.tasks[0].train] - stream.shift) * stream.scale
    torch.testing.assert_close(seen.mean(0), torch.zeros(2), atol=1e-5, rtol=0)
    assert stream.features == ()
    assert stream.preprocessing is not None
    assert stream.preprocessing.described()["columns"] == {"said": "text"}


def test_what_is_guessed_may_be_told(tmp_path: Path) -> None:
    """Codes without a space, of which the encoder is to see the letters."""
    frame = reviews("pans", "phones").assign(said=lambda rows: rows["said"].str.replace(" ", "_"))
    path = as_csv(frame, tmp_path / "t.csv")
    assert encoded(path, {"types": {"said": "text"}}).x.shape == (80, 2)
    assert "it failed" in refused(path, encoder=ENCODER)  # of numbers, which it cannot encode
    numbers = as_csv(frame.assign(said=np.arange(80)), tmp_path / "n.csv")
    assert encoded(numbers, {"types": {"said": "text"}}).x.shape == (80, 2)


def test_other_features_are_refused(tmp_path: Path) -> None:
    frame = reviews("pans", "phones").assign(stars=1.5, id=range(80))
    said = refused(as_csv(frame, tmp_path / "t.csv"), {"drop": "id"}, encoder=ENCODER)
    assert said == (
        f"stream `{tmp_path / 't.csv'}`: an encoder sees the texts of column `said` and nothing else, but there are "
        "other features: `stars`. Drop them, `--arg 'drop=[id, stars]'`."
    )
    assert encoded(tmp_path / "t.csv", {"drop": ["id", "stars"]}).x.shape == (80, 2)
    two = as_csv(reviews("pans", "phones").assign(more=lambda rows: rows["said"] + " I say"), tmp_path / "two.csv")
    assert "an encoder sees one column of texts, but `said`, `more` are some" in refused(two, encoder=ENCODER)


def test_a_text_that_is_missing_is_refused(tmp_path: Path) -> None:
    frame = reviews("pans", "phones")
    frame.loc[57, "said"] = None
    said = refused(as_csv(frame, tmp_path / "t.csv"), encoder=ENCODER)
    assert "column `said`, row 58: each row must have a text, but this one has none. Fill or drop it" in said


def test_without_an_encoder(tmp_path: Path) -> None:
    path = as_csv(reviews("pans", "phones"), tmp_path / "t.csv")
    said = refused(path, {"types": {"said": "text"}})
    assert said.endswith("column `said`: texts need an encoder. Name one, `--encoder module:function`.")
    notes = [note for note in load(path, ARGS).notes if "it looks like texts" in note]
    assert len(notes) == 1
    assert "`--encoder module:function`" in notes[0]
    assert not any("looks like" in note for note in load(path, {**ARGS, "types": {"said": "category"}}).notes)
    many = as_csv(reviews("pans", "phones", n=2000), tmp_path / "many.csv")
    assert refused(many).endswith("texts need an encoder, `--encoder module:function`.")


def test_numbers_with_an_encoder_are_as_they_were(tmp_path: Path) -> None:
    frame = reviews("pans", "phones").assign(said=np.arange(80.0), more=1)
    stream = load(as_csv(frame, tmp_path / "t.csv"), ARGS, encoder="tests.own_encoders:doubled")
    assert stream.x.shape == (80, 2)
    assert stream.standardised == "none"
    assert "`standardise` must be none" in refused(tmp_path / "t.csv", standardise="feature")
