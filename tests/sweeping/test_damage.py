"""A results folder that was damaged: `check` names what is, `repair` sets it aside, and what is trained then has the
bits of a study that nothing befell. Seeded places; without Ray, see `in_process`."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import warnings
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cfsweep.config import StudyConfig
from cfsweep.errors import InputError
from cfsweep.results.ledger import LEDGER, begin_ledger
from cfsweep.results.reader import COPY, STUDY, read_table
from cfsweep.results.schema import MAJORITY_TRIAL
from cfsweep.results.sealing import sealed_record
from cfsweep.results.status import status
from cfsweep.sweeping.broker import Broker
from cfsweep.sweeping.checking import check
from cfsweep.sweeping.confirm import Purpose, confirm
from cfsweep.sweeping.driver import Driver
from cfsweep.sweeping.repairing import repair
from cfsweep.sweeping.scheduler import USUAL, Workers
from cfsweep.sweeping.search.asker import open_asker
from cfsweep.sweeping.space import check_space
from cfsweep.sweeping.study import is_whole
from cfsweep.sweeping.working_files import tidy
from cfsweep.sweeping.written import read_written
from cfsweep.training.streams import Stream
from tests.conftest import Run
from tests.sweeping.confirming import Confirmed
from tests.sweeping.in_process import Killed, Sweep, tiny
from tests.sweeping.test_faults import killed_at, without_chance

SEED = 20261127
Damage = Callable[[Path, random.Random], None]


def config() -> StudyConfig:
    return tiny(trials=4, references=True, seeds=2, pack_runs=2, curve_points_per_task=2)


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
    "whole": (
        *(STUDY, COPY, LEDGER, "journal.jsonl", "runs/*", "accuracy/*", "buffers/*", "curves/*"),
        "runs/*-majority.parquet",
    ),
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
    "damage", ["flipped", *(pytest.param(d, marks=pytest.mark.slow) for d in ("cut", "emptied", "removed"))]
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
    # What a pack goes on from, if it is gone, was never there: it begins anew. The copy is written anew by itself.
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


def test_what_fits_no_memory_is_not_read(studies: dict[str, Sweep], sweep: Sweep) -> None:
    """A hole takes no room on a disk."""
    root = copy_of(studies, "whole", sweep).folder.root
    part = next(path.relative_to(root).as_posix() for path in sorted(root.glob("runs/*-a1-*")))
    holes = (COPY, part, "runs/another.parquet")
    for name in holes:
        (root / name).touch()
        os.truncate(root / name, 2**40)
    with pytest.raises(InputError, match=rf"{part}: altered: it is not what commits\.jsonl has the SHA-256 of\. `cfs"):
        read_table(root, "runs")
    assert {finding.path for finding in check(root).damaged} == set(holes)
    repair(root)
    assert not check(root).damaged
    os.truncate(root / STUDY, 2**40)
    assert [finding.path for finding in check(root).damaged] == [STUDY]
    repair(root)
    assert not check(root).damaged


def test_two_records_that_are_whole_and_contradict_one_another_are_never_merged(
    studies: dict[str, Sweep], sweep: Sweep, sweep_beside: Sweep
) -> None:
    """The journal of another sweep over the same space, under the study's name."""
    other = config().model_copy(update={"sampler_seed": 7})
    sweep_beside.train(sweep_beside.open(other, workers=2))
    foreign = json_of(sweep_beside.folder.journal.read_bytes().replace(other.study_id.encode(), b"STUDY"))
    copy_of(studies, "whole", sweep)
    own, root = sweep.folder.journal, sweep.folder.root
    own.write_bytes(foreign.replace(b"STUDY", config().study_id.encode()))
    told = [finding for finding in check(root).damaged if finding.what.startswith("trial 1 has ")]
    assert {finding.path for finding in told} == {"journal.jsonl"}
    with pytest.raises(InputError, match="the journal and what was trained contradict one another: trial 1 has"):
        sweep.open(config())
    before = {path: path.read_bytes() for path in files_of(root)}
    with pytest.raises(InputError, match=r"each whole, but contradict one another: trial 1 has .* Move what is not"):
        repair(root)
    assert {path: path.read_bytes() for path in files_of(root)} == before
    own.rename(root.parent / "elsewhere")
    assert repair(root) == [
        "journal.jsonl: missing; made anew with the 4 trial(s) of runs/ and of the packs on their way"
    ]
    sweep.train(sweep.open(config()))
    assert_like(sweep, studies["whole"])
    assert not check(root).damaged


def test_a_study_file_and_parts_of_different_studies_are_never_merged(
    studies: dict[str, Sweep], sweep: Sweep, sweep_beside: Sweep
) -> None:
    sweep_beside.train(sweep_beside.open(tiny(trials=1)))
    copy_of(studies, "whole", sweep)
    root = sweep.folder.root
    for name in (STUDY, COPY):
        shutil.copy(sweep_beside.folder.root / name, root / name)
    assert [finding.path for finding in check(root).damaged][:1] == [LEDGER]
    before = {path: path.read_bytes() for path in files_of(root)}
    with pytest.raises(InputError, match=r"\.parquet: it is of another study, as are all parts, but study\.ya"):
        repair(root)
    assert {path: path.read_bytes() for path in files_of(root)} == before
    for name in (STUDY, COPY):
        shutil.copy(studies["whole"].folder.root / name, root / name)
    assert repair(root) == []
    assert not check(root).damaged


def json_of(journal: bytes) -> bytes:
    """As an earlier version wrote a journal, without checks."""
    return re.sub(rb',"check":"[0-9a-f]{16}"}', b"}", journal)


def test_no_bit_of_an_old_journal_ends_in_a_traceback(studies: dict[str, Sweep], sweep: Sweep) -> None:
    copy_of(studies, "half", sweep)
    rng, journal = random.Random(SEED), sweep.folder.journal
    lines = json_of(journal.read_bytes()).splitlines(keepends=True)
    hypers = check_space(config().space, "test")
    for k, line in enumerate(lines):
        turned = bytearray(line)
        turned[rng.randrange(len(line))] ^= 1 << rng.randrange(8)
        journal.write_bytes(b"".join([*lines[:k], turned, *lines[k + 1 :]]))
        with contextlib.suppress(InputError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Optuna's, of a range that is another one
            open_asker(journal, config(), hypers).running()
        check(sweep.folder.root)


def test_a_model_that_was_damaged_is_trained_again(root: Path, confirmed: Confirmed, inside: Sweep) -> None:
    confirmed(0, seeds=2)
    rows = [without_chance(row) for row in inside.rows()]
    (model, *others) = sorted((inside.folder.root / "models").iterdir())
    before, attempts = model.read_bytes(), [row["attempt"] for row in inside.rows()]
    flipped(model, random.Random(SEED))
    assert [finding.path for finding in check(root).damaged] == [f"confirmed/models/{model.name}"]
    (line,) = repair(root)
    assert line.startswith(f"confirmed: models/{model.name}: altered; its commit, with trial ")
    confirmed(0, seeds=2)
    assert [without_chance(row) for row in inside.rows()] == rows
    assert model.exists()
    assert len(model.read_bytes()) == len(before)
    assert sum(row["attempt"] for row in inside.rows()) > sum(attempts), "as a later attempt"
    assert not check(root).damaged
    assert others


def test_what_killed_drivers_leave_is_removed_by_the_next(studies: dict[str, Sweep], sweep: Sweep) -> None:
    copy_of(studies, "half", sweep)
    root = sweep.folder.root
    left = [
        *("runs/.pack000009-a1-t4.parquet.x.tmp", "accuracy/.p.parquet.y.tmp", "checkpoints/.pack000001.json.z.tmp"),
        *(".study.yaml.a.tmp", ".study.copy.yaml.b.tmp", "journal.jsonl.lock", "journal.jsonl.lock0a1b.rename"),
    ]
    for name in left:
        (root / name).touch()
    (root / ".report.html.c.tmp").touch()  # somebody writes it now
    found = check(root)
    assert {finding.path for finding in found.findings} >= {*left}
    assert not found.damaged
    with sweep.folder.locked():
        assert not check(root).findings, "what a sweep is at is no remains"
    tidy(root)
    assert [name for name in left if (root / name).exists()] == []
    assert (root / ".report.html.c.tmp").exists()


def test_what_killed_drivers_leave_is_removed_of_a_study_that_is_complete(
    run: Run, studies: dict[str, Sweep], sweep: Sweep
) -> None:
    copy_of(studies, "whole", sweep)
    root = sweep.folder.root
    names = ("runs/.p.parquet.x.tmp", ".study.yaml.a.tmp", "journal.jsonl.lock0a1b.rename", "checkpoints/prefix-ab.pt")
    for name in (*names, "checkpoints/pack000001.json"):
        (root / name).touch()
    (root / COPY).unlink()
    code, printed, complaints = run("resume", root, "--workers", "0")
    assert (code, complaints) == (0, ""), printed
    assert (root / COPY).read_bytes() == (root / STUDY).read_bytes()
    assert [path.name for path in (root / "checkpoints").iterdir()] == []
    assert check(root).findings == ()
    with sweep.folder.locked():
        (root / names[0]).touch()
        assert run("resume", root, "--workers", "0")[0] == 0, "another one is at it"
        assert (root / names[0]).exists()


@pytest.mark.parametrize("name", ["confirmed", "refitted", "models"])
def test_nothing_is_confirmed_through_a_link_out_of_the_folder(
    studies: dict[str, Sweep], sweep: Sweep, tmp_path: Path, name: str
) -> None:
    copy_of(studies, "whole", sweep)
    (tmp_path / "outside").mkdir()
    (sweep.folder.root / name).symlink_to(tmp_path / "outside")
    nobody: Any = None  # watches: it is refused before
    purpose: Purpose = "refit" if name == "refitted" else "confirm"
    with pytest.raises(InputError, match=f"{name}: it is a link out of the results folder"):
        confirm(sweep.folder.root, [0], [], 1, purpose, Workers(0), nobody)
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_part_is_held_against_its_own_checksums_where_the_ledger_is_lost(
    run: Run, studies: dict[str, Sweep], sweep: Sweep
) -> None:
    copy_of(studies, "whole", sweep)
    root = sweep.folder.root
    (root / LEDGER).unlink()
    (part, *_) = sorted(root.glob("accuracy/*-a1-*"))
    content = bytearray(part.read_bytes())
    content[pq.ParquetFile(part).metadata.row_group(0).column(0).data_page_offset + 60] ^= 1
    part.write_bytes(content)
    said = repair(root)
    assert any(part.name in line and "set aside" in line for line in said), said
    assert not check(root).damaged
    code, printed, complaints = run("resume", root, "--workers", "0")
    assert (code, complaints) == (0, ""), printed
    assert_like(sweep, studies["whole"])


def test_a_study_begins_where_a_driver_was_killed_as_it_began(sweep: Sweep) -> None:
    root = sweep.folder.root
    root.mkdir()
    for name in (".study.yaml.a1.tmp", ".commits.jsonl.b2.tmp", ".lock"):
        (root / name).touch()
    begin_ledger(root, "another")
    sweep.folder.refuse_other_content()
    sweep.train(sweep.open(tiny(trials=1)))
    assert not check(root).damaged
    shutil.copy(root / STUDY, root / COPY)
    (root / STUDY).unlink()
    with pytest.raises(InputError, match=r"study\.yaml: missing\. `cfsweep repair"):
        sweep.folder.refuse_other_content()
    with pytest.raises(InputError, match=r"study\.yaml: missing\. `cfsweep repair"):
        status(root)


def test_each_of_two_damages_is_named(studies: dict[str, Sweep], sweep: Sweep) -> None:
    copy_of(studies, "whole", sweep)
    root = sweep.folder.root
    part = min(root.glob("accuracy/*-a1-*"))
    flipped(part, random.Random(SEED))
    sweep.folder.journal.unlink()
    both = ["accuracy/" + part.name, "journal.jsonl"]
    assert [finding.path for finding in check(root).damaged] == both
    assert [line.partition(":")[0] for line in repair(root)] == both
    sweep.train(sweep.open(config(), workers=2))
    assert_like(sweep, studies["whole"])


def test_a_ledger_that_was_cut_is_damage_but_not_while_it_is_carried(studies: dict[str, Sweep], sweep: Sweep) -> None:
    """To a store the parts of several commits come before the ledger that names them."""
    copy_of(studies, "whole", sweep)
    root = sweep.folder.root
    lines = (root / LEDGER).read_bytes().splitlines(keepends=True)
    (root / LEDGER).write_bytes(b"".join(lines[:-3]))
    (found,) = check(root).damaged
    assert (found.path, found.what[:4]) == (LEDGER, "cut:")
    assert not check(root.as_uri()).damaged
    sweep.train(sweep.open(config(), workers=2))
    assert_like(sweep, studies["whole"])
    assert not check(root).findings


def test_a_checkpoint_that_was_set_aside_is_known(studies: dict[str, Sweep], sweep: Sweep) -> None:
    copy_of(studies, "half", sweep)
    checkpoint = min(sweep.folder.checkpoints.glob("pack*.pt"))
    broker = Broker()
    broker.open(str(sweep.folder.checkpoints))
    broker.set_aside(checkpoint.stem)
    found = check(sweep.folder.root)
    assert not found.damaged
    (said,) = (of.what for of in found.findings if of.path == f"checkpoints/{checkpoint.name}.damaged")
    assert said == "a checkpoint that could not be read, and was set aside"


def test_what_no_copy_brings_back_is_said(studies: dict[str, Sweep], sweep: Sweep) -> None:
    copy_of(studies, "whole", sweep)
    for name in (STUDY, COPY):
        cut(sweep.folder.root / name, random.Random(SEED))
    with pytest.raises(InputError, match=r"study\.yaml: .*; and study\.copy\.yaml: .* Bring one of them back"):
        repair(sweep.folder.root)
    with pytest.raises(InputError, match=r"nowhere: no study\.yaml there"):
        repair(Path("nowhere"))
    with pytest.raises(InputError, match=r"nowhere: no study\.yaml there"):
        check("nowhere")


def test_a_driver_that_dies_between_parts_and_ledger_leaves_no_half_of_a_commit(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What readers see, at each of the places where it may die; and what is whole is not trained again."""
    first = sweep.open(tiny(trials=2, pack_runs=1), workers=1)

    def dies(*args: Any) -> None:
        raise Killed

    monkeypatch.setattr(first.ledger, "commit", dies)
    with pytest.raises(Killed):
        sweep.train(first)
    parts = {path.parent.name for path in sweep.folder.root.glob("*/*.parquet")}
    assert parts >= {"runs", "accuracy"}
    assert sweep.rows() == sweep.rows("accuracy") == []
    half = sweep.folder.root / "accuracy" / "pack000077-a1-t4.parquet"
    shutil.copy(next(sweep.folder.root.glob("accuracy/*.parquet")), half)
    found = check(sweep.folder.root)
    assert not found.damaged
    assert "accuracy/pack000077-a1-t4.parquet" in {finding.path for finding in found.findings}
    trained: set[int] = set()
    second = sweep.open(tiny(trials=2, pack_runs=1), workers=1)
    there = {row["trial"] for row in sweep.rows()}
    assert there
    assert not half.exists()
    sweep.train(second, lambda pack_id, pack, driver: trained.update(run.trial for run in pack.spec.runs))
    assert not trained & there
    assert [row["trial"] for row in sweep.rows()] == [0, 1]


def test_the_command_line(run: Run, studies: dict[str, Sweep], sweep: Sweep) -> None:
    copy_of(studies, "whole", sweep)
    root = sweep.folder.root
    assert run("check", root) == (0, f"whole: {check(root).n_files} files of results\n", "")
    assert run("repair", root) == (0, "nothing to repair: all is whole\n", "")
    (part, *_) = sorted(root.glob("runs/*-a1-*"))
    flipped(part, random.Random(SEED))
    code, printed, complaints = run("check", root)
    assert (code, complaints) == (1, "")
    assert printed.startswith(f"runs/{part.name}: altered (with trial ")
    assert f"1 damaged. `cfsweep repair {root}` sets right" in printed
    code, printed, complaints = run("repair", root)
    assert (code, complaints) == (0, "")
    assert f"trials are whole; `cfsweep resume {root}` trains the rest" in printed or "references" in printed
    code, printed, complaints = run("resume", root, "--workers", "0")
    assert (code, complaints) == (0, "")
    assert_like(sweep, studies["whole"])
    assert run("check", root)[0] == 0


def test_a_choice_that_was_altered_is_named_and_stays(run: Run, studies: dict[str, Sweep], sweep: Sweep) -> None:
    copy_of(studies, "whole", sweep)
    path = sweep.folder.root / "selection.json"
    path.write_text(json.dumps(sealed_record({"trial": 1})))
    assert check(sweep.folder.root).findings == ()
    path.write_text(path.read_text().replace('"trial": 1', '"trial": 2'))
    said = "selection.json: altered: it is not what its `sha256` is of"
    assert run("check", sweep.folder.root) == (1, f"{said}; remove it, and select anew\n1 damaged\n", "")
    assert repair(sweep.folder.root) == [f"{said}. It stays: remove it, and select anew"]
    path.unlink()
    assert check(sweep.folder.root).findings == ()


def told(driver: Driver) -> list[Any]:
    """What the sampler knows of each trial."""
    trials = driver.asker.study.trials
    return [(t.number, t.state, t.params, t.values, t.intermediate_values) for t in trials]


def test_a_journal_that_is_made_anew_tells_the_sampler_the_same(sweep: Sweep) -> None:
    """Numbers, parameters, ends, objectives, and what the median rule goes by."""
    search = {"lr": {"low": 1e-5, "high": 3e-2, "log": True}, "batch_size": {"choices": [64, 128]}}
    changed = tiny(search, ingredients=(), trials=12, stop_trials=True, pack_runs=2)
    before = told(sweep.train(sweep.open(changed)))
    assert {state.name for _, state, *_ in before} == {"COMPLETE", "PRUNED"}
    sweep.folder.journal.unlink()
    (line,) = repair(sweep.folder.root)
    assert line.startswith("journal.jsonl: missing; made anew with the 12 trial(s)")
    assert not is_whole(sweep.folder, changed, USUAL), "it does not know yet how they ended"
    again = sweep.open(changed)
    assert is_whole(sweep.folder, changed, USUAL)
    assert again.complete
    for one, other in zip(before, told(again), strict=True):
        assert one[:3] == other[:3]
        assert one[3] == pytest.approx(other[3])
        if one[1].name == "COMPLETE":
            assert one[4] == pytest.approx(other[4])
    assert [t.number for t in again.asker.study.trials] == [*range(12)]


@pytest.mark.parametrize("damage", [emptied, removed])
def test_a_journal_is_made_anew_where_references_alone_were_begun(sweep: Sweep, damage: Damage) -> None:
    with pytest.raises(Killed):
        sweep.train(sweep.open(config(), workers=2), killed_at(3))
    assert {row["trial"] for row in sweep.rows()} == {MAJORITY_TRIAL}
    for trial in sweep.folder.checkpoints.glob("pack*.json"):
        assert '"joint": true' in trial.read_text() or '"ingredients": []' in trial.read_text()
    damage(sweep.folder.journal, random.Random(0))
    assert [finding.path for finding in check(sweep.folder.root).damaged] == ["journal.jsonl"]
    (line,) = repair(sweep.folder.root)
    assert "made anew with the 0 trial(s)" in line
    assert not check(sweep.folder.root).damaged
    assert sweep.train(sweep.open(config(), workers=2)).complete


def test_a_pack_that_is_damaged_is_set_aside_by_resume_with_a_line(
    run: Run, studies: dict[str, Sweep], sweep: Sweep
) -> None:
    copy_of(studies, "half", sweep)
    root = sweep.folder.root
    (pack, *_) = sorted(root.glob("checkpoints/pack*.json"))
    cut(pack, random.Random(SEED))
    code, _, complaints = run("resume", root, "--workers", "0")
    assert code == 0
    assert complaints == f"cfsweep: checkpoints/{pack.name}: torn or altered: its runs begin anew; set aside\n"
    assert [path.name for path in root.glob("damaged/*/checkpoints/pack*.json")] == [pack.name]
    assert_like(sweep, studies["whole"])
