"""A study at an address: written, gone on with, confirmed, looked at and exported as one in a folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import analysis
import cfsweep
from cfsweep.errors import InputError
from cfsweep.files import cache_folder
from cfsweep.results.reader import read_table
from tests.conftest import Run

BY_CHANCE = ("train_s", "started_at", "peak_bytes")
SPACE: dict[str, Any] = {
    "ingredients": ["replay"],
    "fixed": {"epochs": 1, "batch_size": 128, "replay_buffer": 20},
    "search": {"replay_ratio": {"low": 0.1, "high": 0.5}},
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CFSWEEP_CACHE", str(tmp_path / "cache"))
    return cache_folder("studies")


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """Stands for a place elsewhere, by its address."""
    return tmp_path / "there"


def rows(place: str | Path, table: str = "runs") -> list[dict[str, Any]]:
    found = read_table(place, table).to_pylist()
    kept = [{name: value for name, value in row.items() if name not in BY_CHANCE} for row in found]
    return sorted(kept, key=lambda row: [row.get(name, 0) for name in ("trial", "seed", "after_task", "eval_task")])


def test_from_a_sweep_to_a_model(
    there: Path, cache: Path, tmp_path: Path, run: Run, no_program: None, smoke: Path
) -> None:
    address, folder = there.as_uri(), tmp_path / "folder"
    study = (smoke, "--workers", "0", "--trials", "2", "--set", "epochs=1")
    code, out, err = run("run", *study, "--out", address)
    assert (code, err) == (0, "")
    assert f" in {address}" in out
    assert f"look at it: cfsweep report {address}" in out
    assert run("run", *study, "--out", folder)[0] == 0
    shutil.rmtree(cache)  # another machine goes on
    for place in (address, folder):
        for command in (
            ("resume", place, "--trials", "+1", "--workers", "0"),
            ("select", place),
            ("confirm", place, "--seeds", "1", "--workers", "0"),
            ("report", place),
            ("export", place, "--to", tmp_path / f"model of {Path(place).name}"),
        ):
            code, out, err = run(*command)
            assert (code, err) == (0, ""), command
            assert "cache" not in out
        for verb in ("status", "front", "table", "compare"):
            assert run(verb, place)[0] == 0
        assert run("gate", place, "--min-average-score", "0")[0] == 0
    for table in ("runs", "accuracy", "buffers"):
        assert rows(address, table) == rows(folder, table) == rows(there, table)
    for table in ("runs", "test"):
        assert rows(there / "confirmed", table) == rows(folder / "confirmed", table)
    assert {path.name for path in folder.iterdir()} - {"front.parquet", ".lock"} == {
        path.name for path in there.iterdir() if not path.name.startswith(".")
    } | {"checkpoints"}
    assert run("status", address)[1].startswith("study")


def test_the_library_takes_an_address(there: Path, cache: Path, tmp_path: Path) -> None:
    address = there.as_uri()
    found = cfsweep.sweep(SPACE, "split-digits", out=address, trials=1, workers=0)
    assert found.folder == address
    assert cfsweep.resume(address, more_trials=1, workers=0).status.done == 2
    assert found.select()["trial"] in (0, 1)
    assert found.report() == f"{address}/report.html"
    assert analysis.load(address)["trial"].nunique() == len(set(analysis.load(there)["trial"]))
    assert (there / "selection.json").exists()


def test_a_dry_run_writes_nothing(there: Path, cache: Path, run: Run, smoke: Path) -> None:
    code, out, _ = run("run", smoke, "--out", there.as_uri(), "--dry-run")
    assert code == 0
    assert "(nothing was written)" in out
    assert not there.exists()
    assert not cache.exists()


def test_what_is_wrong_is_told_of_the_address_and_leaves_nothing(
    there: Path, cache: Path, run: Run, smoke: Path
) -> None:
    address = there.as_uri()
    code, _, err = run("resume", address, "--workers", "0")
    assert code == 2
    assert err.startswith(f"cfsweep: {address}: no study.yaml there.")
    assert run("run", smoke, "--out", address, "--set", "epochs=-1", "--workers", "0")[0] == 2
    assert [path for path in there.rglob("*") if path.is_file()] == []
    assert run("run", smoke, "--out", address, "--workers", "0", "--trials", "1")[0] == 0
    code, _, err = run("run", smoke, "--out", address, "--workers", "0", "--set", "epochs=2")
    assert code == 2
    assert err.startswith(f"cfsweep: --out {address}: it holds another study")
    for command in (("confirm", address, "--workers", "0"), ("export", address, "--to", "model")):
        code, _, err = run(*command)
        assert code == 2
        assert address in err
        assert str(cache) not in err


def test_so_is_what_errors_say_that_are_made_of_several_things(there: Path, cache: Path, run: Run, smoke: Path) -> None:
    address = there.as_uri()
    code, _, err = run("run", smoke, "--out", address, "--address", "127.0.0.1:1")
    assert (code, err.count("\n")) == (2, 1)
    assert "no Ray cluster answers there" in err
    assert run("run", smoke, "--out", address, "--workers", "0", "--trials", "1", "--set", "epochs=1")[0] == 0
    (journal,) = cache.rglob("journal.jsonl")
    journal.write_bytes(journal.read_bytes().replace(b'"check":"', b'"check":"0', 1))
    code, _, err = run("resume", address, "--workers", "0", "--trials", "+1")
    assert code == 2
    assert err.startswith(f"cfsweep: {address}/journal.jsonl: line 2 is altered")


def altered(part: Path) -> None:
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)


def test_what_is_damaged_here_or_there_is_repaired_by_its_address(
    there: Path, cache: Path, run: Run, smoke: Path
) -> None:
    address = there.as_uri()
    assert run("run", smoke, "--out", address, "--workers", "0", "--trials", "2", "--set", "epochs=1")[0] == 0
    before = rows(address)
    altered(min(there.glob("runs/*")))
    code, out, _ = run("check", address)
    assert code == 1
    assert f"`cfsweep repair {address}`" in out
    assert run("repair", address) == (0, "nothing to repair: all is whole here, and is carried there\n", "")
    assert run("check", address)[0] == 0
    altered(min(cache.glob("*/study/runs/*")))
    code, _, err = run("resume", address, "--workers", "0")
    assert code == 2
    assert f"`cfsweep repair {address}`" in err
    code, out, err = run("repair", address)
    assert (code, err) == (0, "")
    assert f"`cfsweep resume {address}` trains the rest" in out
    assert run("resume", address, "--workers", "0")[0] == 0
    assert run("check", address)[0] == 0
    assert [row["trial"] for row in rows(address)] == [row["trial"] for row in before]
    (there / "study.yaml").unlink()
    shutil.rmtree(cache)  # another machine
    assert run("repair", address)[0] == 0
    assert run("check", address)[0] == 0


def test_an_address_that_nobody_knows_or_with_a_password_is_refused(cache: Path, run: Run) -> None:
    code, _, err = run("resume", "foo://bar/x")
    assert code == 2
    assert err.startswith("cfsweep: foo://bar/x: not a place that can be read")
    for command in (("resume", "s3://me:secret@bucket/x"), ("run", "ewc", "--out", "s3://me:secret@bucket/x")):
        code, _, err = run(*command)
        assert code == 2
        assert err.startswith("cfsweep: s3://bucket/x: an address must hold no credentials.")
        assert "secret" not in err.replace("AWS_SECRET_ACCESS_KEY", "")


def test_a_folder_is_taken_as_it_is(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(InputError, match=r"no study\.yaml there"):
        cfsweep.resume(tmp_path / "none", workers=0)
    assert not cache.exists()
