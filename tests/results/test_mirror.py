"""What a store holds of a study that is written here: after each file something that can be resumed, at the end all."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from cfsweep.errors import InputError, NotCarriedError
from cfsweep.results import mirror as under_test
from cfsweep.results.carried import Seen
from cfsweep.results.lease import CLAIMS
from cfsweep.results.mirror import Mirror, open_mirror
from tests.results.stores import Watched, json_lines, of_another_machine, write

STUDY = {
    "study.yaml": "study_id: a\n",
    "journal.jsonl": "1\n",
    "commits.jsonl": '{"study_id":0}\na\n',
    "runs/a.parquet": "rows",
}


@pytest.fixture
def store(tmp_path: Path) -> Watched:
    (tmp_path / "there").mkdir()
    return Watched(tmp_path / "there")


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "LEAST_PAUSE_S", 0.005)
    monkeypatch.setattr(under_test, "MOST_PAUSE_S", 0.01)


def opened(store: Watched, home: str = "here", **options: object) -> AbstractContextManager[Path]:
    """The folder of this machine; with another `home` that of another machine."""
    lease = of_another_machine(store)
    options = {"say": lambda text: None, "lease": lease, "patience_s": 5.0, **options}
    return open_mirror(store.address, store.folder.parent / home, store=store, **options)  # type: ignore[arg-type]


def fill(folder: Path, files: dict[str, str] | None = None) -> None:
    for name, content in (STUDY if files is None else files).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)


def texts(files: dict[str, bytes]) -> dict[str, str]:
    return {name: content.decode() for name, content in files.items()}


class Died(KeyboardInterrupt):
    """The process is gone: nothing is carried any more."""


def killed(store: Watched, files: dict[str, str], home: str = "here", after: bool = True) -> None:
    """A writer that dies with these files in its folder, `after` they were carried."""
    with pytest.raises(Died), opened(store, home) as folder:  # noqa: PT012
        fill(folder, files)
        if after:
            until(lambda: texts(store.study()).items() >= files.items())
        else:
            store.away = True
        raise Died
    store.away = False
    for name in list(store.entries(CLAIMS)):  # long ago
        store.remove(name)


def until(condition: object) -> None:
    deadline = time.monotonic() + 20
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_all_is_there_at_the_end_and_nobody_holds_it(store: Watched) -> None:
    with opened(store) as folder:
        fill(folder)
        write(folder, **{".lock": "", "runs__.b.parquet.x.tmp": "half", "journal.jsonl.lock": ""})
    assert texts(store.study()) == STUDY
    assert not store.entries(CLAIMS)


def test_what_others_rely_on_is_carried_before(store: Watched) -> None:
    inner = {f"confirmed/{name}": content for name, content in STUDY.items()}
    files = {**STUDY, "checkpoints/pack1.pt": "x", "confirmed/models/a.pt": "y", **inner}
    with opened(store, lease=None) as folder:
        store.away = True
        fill(folder, files)
        store.written.clear()
        store.away = False
    last = {name: at for at, name in enumerate(store.written)}
    place = {name: store.written.index(name) for name in store.written}  # a pass may see a file half-written
    for inside in ("", "confirmed/"):
        ledger = f"{inside}commits.jsonl"
        assert place[ledger] < place[f"{inside}runs/a.parquet"], "a study without a ledger has lost it"
        place[ledger] = last[ledger]
    for before, after in (
        ("study.yaml", "journal.jsonl"),
        ("journal.jsonl", "runs/a.parquet"),
        ("journal.jsonl", "checkpoints/pack1.pt"),
        ("runs/a.parquet", "commits.jsonl"),
        ("confirmed/models/a.pt", "confirmed/runs/a.parquet"),
        ("confirmed/runs/a.parquet", "confirmed/commits.jsonl"),
    ):
        assert place[before] < place[after]


def test_a_ledger_that_is_begun_while_files_are_listed_names_no_part_that_was_not(
    store: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of a confirmation is, within a study that has one."""
    mirror = Mirror(store, store.folder.parent / "here", of_another_machine(store), lambda text: None)
    fill(mirror.folder)
    listed, begun = mirror._files, list[str]()

    def files() -> dict[str, Seen]:
        if not begun:
            begun.append("confirmed")
            fill(mirror.folder, {"confirmed/study.yaml": "study_id: b\n", "confirmed/commits.jsonl": "a\n"})
            found = listed()
            fill(mirror.folder, {"confirmed/runs/a.parquet": "rows"})
            return found
        return listed()

    monkeypatch.setattr(mirror, "_files", files)
    taken = mirror._taken_in()
    assert {"confirmed/commits.jsonl", "confirmed/runs/a.parquet"} <= taken.keys()


def test_another_machine_goes_on_with_all_of_it(store: Watched) -> None:
    with opened(store) as folder:
        fill(folder)
    store.write("selection.json", b"{}")
    with opened(store, "elsewhere") as folder:
        found = {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}
        assert found == {**STUDY, "selection.json": "{}"}
        (folder / "journal.jsonl").write_text("1\n2\n")
        (folder / "runs" / "a.parquet").unlink()
    assert texts(store.study()) == {
        **{name: content for name, content in STUDY.items() if name != "runs/a.parquet"},
        "journal.jsonl": "1\n2\n",
        "selection.json": "{}",
    }
    with opened(store) as folder:  # the first one comes back
        assert (folder / "journal.jsonl").read_text() == "1\n2\n"
        assert not (folder / "runs" / "a.parquet").exists()


def test_a_line_that_is_being_written_is_not_carried(store: Watched) -> None:
    with opened(store) as folder:
        fill(folder, {"study.yaml": "study_id: a\n", "journal.jsonl": "one\ntw", "confirmed/commits.jsonl": "thr"})
    assert store.study()["journal.jsonl"] == b"one\n"
    assert store.study()["confirmed/commits.jsonl"] == b""


def test_what_a_killed_writer_had_not_carried_the_next_one_here_does(store: Watched) -> None:
    killed(store, {**STUDY, "checkpoints/pack1.pt": "x"})
    home = store.folder.parent / "here" / "study"
    (home / "checkpoints" / "pack1.pt").unlink()
    (home / "journal.jsonl").write_text("1\n2\n")
    with opened(store) as folder:
        assert (folder / "journal.jsonl").read_text() == "1\n2\n", "it is newer than the store"
    assert texts(store.study()) == {**STUDY, "journal.jsonl": "1\n2\n"}


def test_a_killed_writer_whose_folder_is_gone_leaves_what_it_had_carried(store: Watched) -> None:
    killed(store, STUDY)
    with opened(store, "elsewhere") as folder:
        assert (folder / "journal.jsonl").read_text() == "1\n"
    assert texts(store.study()) == STUDY


def test_what_the_store_has_lost_is_carried_again(store: Watched) -> None:
    with opened(store) as folder:
        fill(folder)
    (store.folder / "runs" / "a.parquet").unlink()
    (store.folder / "study.yaml").write_text("other")
    with opened(store):
        pass
    assert texts(store.study()) == STUDY


def test_where_both_have_moved_on_it_is_refused(store: Watched) -> None:
    killed(store, STUDY)
    (store.folder.parent / "here" / "study" / "runs" / "b.parquet").write_text("never carried")
    with opened(store, "elsewhere") as folder:
        (folder / "journal.jsonl").write_text("1\n2\n")
    before = store.study()
    said = r"it was written to from elsewhere, and .*/here/study holds what was never carried there \(runs/b.parquet\)"
    with pytest.raises(InputError, match=said), opened(store):
        pass
    assert store.study() == before
    assert not store.entries(CLAIMS)


def test_what_is_in_both_alike_is_no_contradiction(store: Watched) -> None:
    killed(store, STUDY)
    record = store.folder.parent / "here" / "carried.jsonl"
    record.write_text(record.read_text()[:-9])  # it was not noted what was carried last
    with opened(store, "elsewhere"):
        pass
    with opened(store) as folder:
        assert (folder / "study.yaml").exists()


def test_a_place_that_holds_something_else_is_refused(store: Watched) -> None:
    write(store.folder, **{"deep__notes.txt": "mine"})
    with (
        pytest.raises(InputError, match=r"it holds deep and is no study of cfsweep\. Choose"),
        opened(store),
    ):
        pass
    assert list(store.study()) == ["deep/notes.txt"]
    assert not store.entries(CLAIMS)


def test_what_the_analysis_writes_there_stays(store: Watched) -> None:
    with opened(store) as folder:
        fill(folder)
        store.write("selection.json", b"1")
    with opened(store) as folder:
        assert (folder / "selection.json").read_text() == "1"
        store.write("selection.json", b"2")
        store.write("confirmed/report.html", b"3")
        fill(folder, {"journal.jsonl": "1\n2\n"})
    assert (store.study()["selection.json"], store.study()["confirmed/report.html"]) == (b"2", b"3")
    with opened(store) as folder:
        assert (folder / "selection.json").read_text() == "2"


def test_a_store_that_is_away_is_waited_for_and_told_of_once(store: Watched) -> None:
    said: list[str] = []
    with opened(store, say=said.append) as folder:
        store.away = True
        fill(folder)
        until(lambda: said)
        time.sleep(0.05)
        assert len(said) == 1
        store.away = False
        until(lambda: len(said) == 2)
        assert texts(store.study()) == STUDY
    assert "it cannot be written to (no answer). The sweep goes on; all is in " in said[0]
    assert said[1].endswith("it can be written to again, and has what was kept meanwhile")
    assert len(said) == 2


def test_a_store_that_does_not_answer_at_all_is_told_of_once(store: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "SILENT_S", 0.05)
    said, answers = list[str](), threading.Event()

    def waits(name: str) -> None:
        if name.startswith(CLAIMS):
            answers.wait(20)

    with opened(store, say=said.append, lease=of_another_machine(store, renew_s=0.01)) as folder:
        fill(folder)
        until(lambda: "study.yaml" in store.study())
        store.on_write = waits
        until(lambda: said)
        time.sleep(0.3)
        assert len(said) == 1, "also while there is nothing to carry"
        answers.set()
        until(lambda: len(said) == 2)
    assert "it cannot be written to (it has not answered for 0.05 s). The sweep goes on; all is in " in said[0]
    assert said[1].endswith("it can be written to again, and has what was kept meanwhile")


def test_at_the_end_it_is_waited_for(store: Watched) -> None:
    said: list[str] = []

    def back(text: str) -> None:
        said.append(text)
        threading.Timer(0.05, setattr, (store, "away", False)).start()

    with opened(store, say=back) as folder:
        store.away = True
        fill(folder)
    assert texts(store.study()) == STUDY
    assert not store.entries(CLAIMS)


def test_one_that_does_not_come_back_is_told_and_nothing_is_lost(store: Watched) -> None:
    with (  # noqa: PT012
        pytest.raises(
            NotCarriedError, match=r"could not be written to for 0 s \(no answer\)\. Nothing is lost"
        ) as caught,
        opened(store, patience_s=0.05) as folder,
    ):
        store.away = True
        fill(folder)
    assert caught.value.exit_code == 4
    store.away = False
    for name in list(store.entries(CLAIMS)):
        store.remove(name)
    with opened(store):
        pass
    assert texts(store.study()) == STUDY


def test_an_error_within_is_told_and_what_was_done_is_carried(store: Watched) -> None:
    with pytest.raises(InputError, match="mine"), opened(store) as folder:  # noqa: PT012
        fill(folder)
        raise InputError("mine")
    assert texts(store.study()) == STUDY
    assert not store.entries(CLAIMS)


def test_a_place_that_cannot_be_written_to_is_one_line(store: Watched) -> None:
    store.away = True
    with pytest.raises(InputError, match=r"it cannot be written to \(no answer\)\. Check the address"), opened(store):
        pass


def test_one_that_was_taken_over_writes_nothing_more(store: Watched) -> None:
    lost = threading.Event()
    lease = of_another_machine(store, renew_s=0.01)
    said = r"another cfsweep has taken over this study .* What it had not carried"
    with pytest.raises(InputError, match=said), opened(store, lease=lease, on_lost=lost.set) as folder:  # noqa: PT012
        fill(folder)
        until(lambda: store.study().keys() == STUDY.keys())
        until(lambda: store.remove(lease.name) or lost.is_set())  # as the other one does
        fill(folder, {"journal.jsonl": "more\n"})
    assert texts(store.study()) == STUDY


def test_another_process_of_this_machine_is_refused(store: Watched) -> None:
    said = "another cfsweep on this machine is writing to this study"
    with opened(store), pytest.raises(InputError, match=said), opened(store):
        pass


# ------------------------------------------------------------------------------------------------ at any moment


def sweep_of(folder: Path, n: int) -> Iterator[None]:
    """What a driver does, step by step: a trial is asked for, its rows are written, noted, and its end is told."""
    journal, ledger, runs = folder / "journal.jsonl", folder / "commits.jsonl", folder / "runs"
    runs.mkdir(exist_ok=True)
    fill(folder, {"study.yaml": "study_id: a\n"})
    for number in range(n):
        for path, what in ((journal, "begun"), (runs / f"{number}.parquet", ""), (ledger, ""), (journal, "ended")):
            if path.parent == runs:
                path.write_text(str(number))
            else:
                with path.open("a") as file:
                    file.write(json.dumps([number, what]) + "\n")
            yield


def check(files: dict[str, bytes], whole: bool) -> None:
    """The ledger names only parts that are there, of trials that the journal knows; after a `whole` pass it has all of
    which the journal says that they have ended."""
    journal = json_lines(files.get("journal.jsonl", b""))
    begun, ended = ({n for n, what in journal if what == state} for state in ("begun", "ended"))
    noted = {n for n, _ in json_lines(files.get("commits.jsonl", b""))}
    parts = {int(name.split("/")[1].split(".")[0]) for name in files if name.startswith("runs/")}
    assert noted <= parts
    assert noted <= begun
    assert not whole or ended <= noted


def test_at_any_moment_the_store_holds_a_study_that_can_be_resumed(store: Watched) -> None:
    mirror = Mirror(store, store.folder.parent / "here", of_another_machine(store), lambda text: None)
    mirror.lease.take()
    mirror.folder.mkdir(parents=True)
    mirror.carried.open()
    store.on_write = lambda name: (
        check(store.study(), whole=False) if name in ("commits.jsonl", "journal.jsonl") else None
    )
    done = threading.Event()

    def drive() -> None:
        for _ in sweep_of(mirror.folder, 300):
            time.sleep(0.0005)
        done.set()

    driver = threading.Thread(target=drive)
    driver.start()
    passes = 0
    while not done.is_set():
        mirror.carry()
        check(store.study(), whole=True)
        passes += 1
    driver.join()
    mirror.carry()
    check(store.study(), whole=True)
    mirror.carried.close()
    assert passes > 3
    assert len(json_lines(store.study()["commits.jsonl"])) == 300


def test_no_checkpoint_of_the_ground_of_before_is_there_beside_another_study(store: Watched) -> None:
    with opened(store) as folder:
        fill(folder, {**STUDY, "checkpoints/pack000001.pt": "before"})
        until(lambda: texts(store.study()).items() >= STUDY.items() and "checkpoints/pack000001.pt" in store.study())
    found: list[bool] = []
    store.on_write = lambda name: (
        found.append("checkpoints/pack000001.pt" in store.study()) if name == "study.yaml" else None
    )
    with opened(store) as folder:
        (folder / "checkpoints/pack000001.pt").unlink()
        fill(folder, {"study.yaml": "study_id: a\nchanges: 1\n"})
    assert found
    assert not any(found)
