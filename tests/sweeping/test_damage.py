"""A results folder that was damaged: `check` names what is, `repair` sets it aside, and what is trained then has the
bits of a study that nothing befell. Seeded places; without Ray, see `in_process`."""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from cfsweep.config import StudyConfig
from cfsweep.errors import InputError
from cfsweep.results.ledger import LEDGER
from cfsweep.results.reader import COPY, STUDY
from cfsweep.results.status import status
from cfsweep.sweeping.checking import check
from cfsweep.sweeping.repairing import repair
from cfsweep.sweeping.written import read_written
from cfsweep.training.streams import Stream
from tests.sweeping.in_process import Killed, Sweep, tiny
from tests.sweeping.test_faults import killed_at, without_chance

SEED = 20261127
Damage = Callable[[Path, random.Random], None]


def config() -> StudyConfig:
    return tiny(trials=4, references=True, seeds=2, pack_runs=2)


def flipped(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    place = rng.randrange(len(content))
    content[place] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def cut(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content) // 4, len(content) // 2)])


def emptied(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"")


def removed(path: Path, rng: random.Random) -> None:
    path.unlink()


DAMAGES: dict[str, Damage] = {f.__name__: f for f in (flipped, cut, emptied, removed)}
SLOW = partial(pytest.param, marks=pytest.mark.slow)
# One file of each kind, by what it holds.
FILES = {
    "whole": (STUDY, COPY, LEDGER, "journal.jsonl", "runs/*", "accuracy/*", "buffers/*", "runs/*-majority.parquet"),
    "half": (
        LEDGER,
        "journal.jsonl",
        "runs/*-a1-*",
        "checkpoints/pack*.json",
        "checkpoints/pack*.pt",
        "checkpoints/pre*",
    ),
}


@pytest.fixture(scope="module")
def studies(stream: Stream, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sweep]:
    """A study that came to its end, and the same one as a killed driver left it: read only."""
    place = tmp_path_factory.mktemp("studies")
    found = {name: Sweep(place / name / "study", stream) for name in FILES}
    always = {"workers": 2, "now": count().__next__}  # each report is a commit
    found["whole"].train(found["whole"].open(config(), **always))
    with pytest.raises(Killed):
        found["half"].train(found["half"].open(config(), **always), killed_at(24))
    assert [pattern for pattern in FILES["half"] if not list(found["half"].folder.root.glob(pattern))] == []
    return found


def copy_of(studies: dict[str, Sweep], name: str, to: Sweep) -> Sweep:
    shutil.copytree(studies[name].folder.root, to.folder.root)
    return to


def files_of(root: Path) -> list[Path]:
    """All that cfsweep keeps in the folder, in a fixed order."""
    return sorted(path for path in root.rglob("*") if path.is_file() and path.name != ".lock")


def settings(row: dict[str, Any]) -> tuple[Any, ...]:
    return (row["seed"], *(value for name, value in row.items() if name.startswith("hp_")), row["method"])


def assert_like(sweep: Sweep, twin: Sweep) -> None:
    """Each run is there once, with all of its rows, and those that the twin has too, with its bits."""
    rows, matrices = sweep.rows(), sweep.matrices()
    keys = [(row["trial"], row["seed"]) for row in rows]
    trials = [-1000, -2, -1, *range(4)]
    assert keys == [(trial, seed) for trial in trials for seed in range(2)]
    assert {key: len(cells) for key, cells in matrices.items()} == dict.fromkeys(keys, 30)
    assert status(sweep.folder.root).complete
    assert not read_written(sweep.folder.root, config().study_id, (), ("validation",)).torn
    theirs, known = {settings(row): row for row in twin.rows()}, twin.matrices()
    common = [row for row in rows if settings(row) in theirs]
    assert len(common) >= 6 + 2, "what has a record keeps its settings"
    for row in common:
        twin_row = theirs[settings(row)]
        apart = {"trial": 0, "same_as": 0}
        assert {**without_chance(row), **apart} == {**without_chance(twin_row), **apart}
        assert matrices[row["trial"], row["seed"]] == known[twin_row["trial"], twin_row["seed"]]


def test_a_folder_that_nothing_befell_is_whole(studies: dict[str, Sweep]) -> None:
    for sweep in studies.values():
        before = {path: path.read_bytes() for path in files_of(sweep.folder.root)}
        found = check(sweep.folder.root)
        assert (found.damaged, found.n_files > 0) == ((), True)
        assert check(sweep.folder.root.as_uri()).findings == found.findings
        assert {path: path.read_bytes() for path in files_of(sweep.folder.root)} == before
    assert not check(studies["whole"].folder.root).findings


@pytest.mark.parametrize("name", FILES)
def test_no_flipped_bit_goes_unseen(studies: dict[str, Sweep], sweep: Sweep, name: str) -> None:
    """Of any file, wherever: the check names it, and neither it nor who reads the folder ends with a traceback."""
    copy_of(studies, name, sweep)
    rng, root = random.Random(SEED), sweep.folder.root
    for path in files_of(root):
        whole = path.read_bytes()
        for _ in range(2):
            flipped(path, rng)
            damaged = [finding.path for finding in check(root).damaged]
            assert path.relative_to(root).as_posix() in damaged
            for look in (status, lambda root: sweep.rows("accuracy")):
                with contextlib.suppress(InputError):
                    look(root)
            path.write_bytes(whole)
    assert not check(root).damaged


@pytest.mark.parametrize(
    "damage", ["flipped", "removed", *(pytest.param(d, marks=pytest.mark.slow) for d in ("cut", "emptied"))]
)
@pytest.mark.parametrize(("name", "pattern"), [(name, pattern) for name, of in FILES.items() for pattern in of])
def test_what_is_damaged_is_named_set_aside_and_trained_again(
    studies: dict[str, Sweep], sweep: Sweep, name: str, pattern: str, damage: str
) -> None:
    copy_of(studies, name, sweep)
    rng, root = random.Random(f"{SEED} {name} {pattern} {damage}"), sweep.folder.root
    path = rng.choice(sorted(root.glob(pattern)))
    before = path.read_bytes()
    DAMAGES[damage](path, rng)
    lost, own = path.relative_to(root).as_posix(), [finding.path for finding in check(root).damaged]
    said = repair(root)
    # What a pack goes on from, if it is gone, was never there: the pack begins anew. The copy is written anew by itself.
    if damage != "removed" or not (pattern.startswith("checkpoints/") or pattern == COPY):
        assert lost in own
        assert any(lost in line for line in said)
    assert not check(root).damaged
    kept = list((root / "damaged").glob(f"*/{lost}"))
    assert damage in ("removed", "cut") or [other.read_bytes() != before for other in kept] == [True]
    sweep.train(sweep.open(config(), workers=2))
    assert_like(sweep, studies["whole"])
    assert not check(root).damaged
    assert repair(root) == []
