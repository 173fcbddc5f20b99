"""A sweep over a stream with an encoder: encoded once, in packs as ever, and bound to the encoder it began with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import cfsweep
from cfsweep.errors import InputError
from cfsweep.results.reader import read_study
from tests import own_encoders
from tests.conftest import Run

OWN = "tests.own_encoders"
SPACE: dict[str, Any] = {
    "ingredients": ["slda"],
    "network": {"name": "linear"},
    "search": {"slda_shrinkage": {"low": 1e-4, "high": 1.0, "log": True}},
}
STREAM = "examples.own_stream:tasks"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CFSWEEP_CACHE", str(tmp_path / "cache"))
    own_encoders.CALLS.clear()


def test_a_sweep_encodes_once_and_later_ones_do_not(tmp_path: Path) -> None:
    found = []
    for folder in ("one", "two"):
        swept = cfsweep.sweep(
            SPACE,
            STREAM,
            scenario="class-il",
            trials=3,
            seeds=2,
            encoder=f"{OWN}:doubled",
            settings={"stream.encoder_args.factor": 0.5},
            workers=0,
            out=tmp_path / folder,
        )
        found.append(swept.trials["objective_mixed"].tolist())
        if folder == "one":
            assert own_encoders.CALLS
            own_encoders.CALLS.clear()
    assert not own_encoders.CALLS
    assert found[0] == found[1]
    study = read_study(tmp_path / "one")
    assert study["config"]["stream"]["encoder_args"] == {"factor": 0.5}
    assert study["config"]["stream"]["standardise"] == "feature"
    assert f"encoder {OWN}:doubled" in study["code_sha256"]
    swept.select()
    confirmed = cfsweep.confirm(tmp_path / "two", seeds=2, workers=0)
    assert not own_encoders.CALLS, repr(confirmed)


def test_a_study_goes_on_with_its_encoder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {"trials": 2, "workers": 0, "out": tmp_path / "study", "scenario": "class-il"}
    cfsweep.sweep(SPACE, STREAM, encoder=f"{OWN}:doubled", **given)
    original = own_encoders.doubled
    monkeypatch.setattr(own_encoders, "doubled", lambda factor=2.0: own_encoders.Network(0, 4))
    with pytest.raises(InputError, match=r"the encoder|began with encoder|failed|must return"):
        cfsweep.resume(tmp_path / "study", more_trials=1, workers=0)
    monkeypatch.setattr(own_encoders, "doubled", original)
    assert cfsweep.resume(tmp_path / "study", more_trials=1, workers=0).status.complete


def test_the_command_line_names_it(run: Run, smoke: Path) -> None:
    code, _, err = run(
        "run",
        smoke,
        "--stream",
        STREAM,
        "--encoder",
        f"{OWN}:doubled",
        "--set",
        "stream.encoder_args.factor=3",
        "--dry-run",
    )
    assert code == 0, err
    assert own_encoders.CALLS
    code, _, err = run("run", smoke, "--stream", STREAM, "--encoder", "nowhere:encoder", "--dry-run")
    assert code == 2
    assert "encoder `nowhere:encoder`: there is no module `nowhere`" in err


def test_a_remedy_that_does_not_fit_is_refused_before_anything_is_encoded(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"`slda` needs classes, .* or take another remedy: `replay`"):
        cfsweep.sweep(
            SPACE, STREAM, encoder=f"{OWN}:doubled", target="regression", scenario="domain-il", out=tmp_path / "study"
        )
    assert not own_encoders.CALLS
    assert not (tmp_path / "study").exists()
