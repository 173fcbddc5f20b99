"""A full disk: a sweep waits for room, loses nothing, or ends by one line. Without Ray: see `in_process`."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cfsweep.errors import NoRoomError
from cfsweep.files import impatient, write_atomically
from cfsweep.results.leftovers import remove_leftovers
from cfsweep.results.schema import model_path
from cfsweep.results.status import status
from cfsweep.sweeping import driver as driver_module
from cfsweep.sweeping import room
from cfsweep.sweeping.broker import Broker, Short
from cfsweep.sweeping.room import Waiting, room_for
from tests.sweeping.command import Processes, finish, until
from tests.sweeping.in_process import Sweep, tiny
from tests.sweeping.test_faults import without_chance

SMOKE = Path(__file__).parents[2] / "search_spaces" / "smoke.yaml"


class Disk:
    """On which each file is synced; from call `full_at` on there is no room for so many `calls`.

    `everywhere`: making a file, writing at the end of one and naming it are calls as well."""

    def __init__(self, code: int = errno.ENOSPC, everywhere: bool = False) -> None:
        self.n, self.full_at, self.calls, self.code, self.everywhere = 0, 0, 0, code, everywhere
        self.sync, self.make, self.write, self.name = os.fsync, tempfile.mkstemp, os.pwrite, os.replace

    def put_on(self, patch: pytest.MonkeyPatch) -> Disk:
        patch.setattr(os, "fsync", self.fsync)
        if self.everywhere:
            patch.setattr(tempfile, "mkstemp", self.mkstemp)
            patch.setattr(os, "pwrite", self.pwrite)
            patch.setattr(os, "replace", self.replace)
        return self

    def call(self) -> None:
        self.n += 1
        if self.full_at <= self.n < self.full_at + self.calls:
            raise OSError(self.code, os.strerror(self.code))

    def fsync(self, handle: int) -> None:
        self.call()
        self.sync(handle)

    def mkstemp(self, **where: Any) -> tuple[int, str]:
        self.call()
        return self.make(**where)

    def pwrite(self, handle: int, content: bytes, at: int) -> int:
        """There may be room for a half of it."""
        half = self.write(handle, content[: len(content) // 2], at)
        self.call()
        return half + self.write(handle, content[half:], at + half)

    def replace(self, old: str, new: Path) -> None:
        self.call()
        self.name(old, new)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    monkeypatch.setattr(room, "LOOK_EVERY_S", 0.001)
    return Disk().put_on(monkeypatch)


@pytest.fixture
def any_write(monkeypatch: pytest.MonkeyPatch) -> Disk:
    monkeypatch.setattr(room, "LOOK_EVERY_S", 0.001)
    return Disk(everywhere=True).put_on(monkeypatch)


def never() -> bool:
    return False


# ------------------------------------------------------------------------------------------------ one write


def test_a_write_is_made_again_until_there_is_room(
    disk: Disk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disk.full_at, disk.calls = 1, 3
    with Waiting(60.0, never).on():
        write_atomically(tmp_path / "a", lambda file: file.write(b"x" * 5000))
        write_atomically(tmp_path / "b", lambda file: file.write(b"y"))
    assert (tmp_path / "a").read_bytes() == b"x" * 5000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("cfsweep: the results folder: no space left on device for 5 kB. The sweep waits 60 s for")
    assert second == "cfsweep: there is room again; the sweep goes on"


@pytest.mark.parametrize("patience_s", [0.0, 0.02])
def test_it_comes_to_an_end(disk: Disk, tmp_path: Path, patience_s: float, capsys: pytest.CaptureFixture[str]) -> None:
    disk.full_at, disk.calls, waiting = 1, 10**6, Waiting(patience_s, never)
    with waiting.on():
        with pytest.raises(NoRoomError, match=r"no space left on device for 1 kB.*Make room; `cfsweep resume` goes on"):
            write_atomically(tmp_path / "a", lambda file: file.write(b"x"))
        with pytest.raises(NoRoomError):
            write_atomically(tmp_path / "b", lambda file: file.write(b"x"))  # at once
    assert (disk.n == 2) is (patience_s == 0.0)
    assert list(tmp_path.iterdir()) == []
    assert (capsys.readouterr().err == "") is (patience_s == 0.0)


def test_ctrl_c_ends_it_sooner(disk: Disk, tmp_path: Path) -> None:
    disk.full_at, disk.calls = 1, 10**6
    with Waiting(60.0, lambda: disk.n > 3).on(), pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a", lambda file: file.write(b"x"))


def test_where_nobody_waits_it_fails(disk: Disk, tmp_path: Path) -> None:
    disk.full_at, disk.calls = 1, 2
    with Waiting(60.0, never).on(), impatient(), pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "a", lambda file: file.write(b"x"))
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "a", lambda file: file.write(b"x"))
    disk.full_at, disk.calls, disk.code = disk.n + 1, 1, errno.EIO  # waiting would not mend that
    with Waiting(60.0, never).on(), pytest.raises(OSError, match="Input/output error"):
        write_atomically(tmp_path / "a", lambda file: file.write(b"x"))


# ------------------------------------------------------------------------------------------------ the broker


def test_what_can_be_spared_is_not_written_and_the_rest_waits(disk: Disk, tmp_path: Path) -> None:
    broker = Broker()
    broker.open(str(tmp_path / "checkpoints"))
    broker.put("p", {}, set())
    broker.save("p", b"the first")
    disk.full_at, disk.calls = disk.n + 1, 4
    broker.save("p", b"another")
    broker.save("p", b"yet another")
    broker.put_first_tasks({"a": b"1111"})
    assert (broker.fetch("p").checkpoint, broker.n_saved("p"), broker.get_first_tasks(["a"])) == (b"the first", 1, {})
    models = {(0, 1): b"a model"}
    assert not broker.keep("p", models)
    assert broker.short_of_room() == Short(2, 7)
    assert broker.keep("p", models)
    assert broker.short_of_room() == Short(2, 0)
    assert model_path(tmp_path, (0, 1)).read_bytes() == b"a model"
    broker.save("p", b"with room")
    assert broker.fetch("p").checkpoint == b"with room"
    disk.full_at, disk.calls, disk.code = disk.n + 1, 2, errno.EIO
    for write in (lambda: broker.save("p", b"x"), lambda: broker.keep("p", models)):
        with pytest.raises(OSError, match="Input/output"):
            write()


def test_what_tries_for_room_is_removed_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", dies)
        with pytest.raises(KeyboardInterrupt):
            room_for(tmp_path / "checkpoints", 10)
    assert list((tmp_path / "checkpoints").iterdir())
    assert remove_leftovers(tmp_path) == 1
    assert not list((tmp_path / "checkpoints").iterdir())


def test_room_for_what_waits_is_tried(disk: Disk, tmp_path: Path) -> None:
    disk.full_at, disk.calls = 1, 3
    with Waiting(60.0, never).on():
        room_for(tmp_path, 10_000)
    assert disk.n > 4
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------ a sweep

CONFIG = tiny(trials=4, references=False, pack_runs=2, seeds=1)


@pytest.fixture(scope="module")
def undisturbed(stream: object, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[object], int]:
    """What comes of the study, and how often it makes, writes to, syncs or names a file."""
    sweep = Sweep(tmp_path_factory.mktemp("room") / "study", stream)  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(everywhere=True).put_on(patch)
        sweep.train(sweep.open(CONFIG, workers=1, now=lambda: 0.0))
    return results(sweep), disk.n


def results(sweep: Sweep) -> list[object]:
    return [list(map(without_chance, sweep.rows())), sweep.matrices()]


def test_a_disk_that_is_full_for_a_while_at_any_write_changes_nothing(
    any_write: Disk, stream: object, tmp_path: Path, undisturbed: tuple[list[object], int]
) -> None:
    disk, (whole, n_writes) = any_write, undisturbed
    assert n_writes >= 100
    for at in range(1, n_writes + 1, 7):
        sweep = Sweep(tmp_path / str(at), stream)  # type: ignore[arg-type]
        disk.n, disk.full_at, disk.calls = 0, at, 3
        with Waiting(60.0, never).on():
            driver = sweep.train(sweep.open(CONFIG, workers=1, now=lambda: 0.0))
        assert driver.complete, at
        assert results(sweep) == whole, at
        assert list(sweep.folder.checkpoints.iterdir()) == [], at


def test_a_disk_that_stays_full_ends_it_and_it_goes_on_later(
    any_write: Disk, stream: object, tmp_path: Path, undisturbed: tuple[list[object], int]
) -> None:
    disk, (whole, n_writes) = any_write, undisturbed
    for at in range(2, n_writes + 1, 7):
        sweep = Sweep(tmp_path / str(at), stream)  # type: ignore[arg-type]
        disk.n, disk.full_at, disk.calls = 0, at, 10**6
        waiting = Waiting(0.0, never)
        with pytest.raises(NoRoomError), waiting.on():
            sweep.train(sweep.open(CONFIG, workers=1, now=lambda: 0.0))
        disk.full_at = 0
        disk.calls = 0
        assert sweep.train(sweep.open(CONFIG, workers=1, now=lambda: 0.0)).complete, at
        assert [row["trial"] for row in sweep.rows()] == [0, 1, 2, 3], at
        assert results(sweep)[0][:1] == whole[0][:1], at  # type: ignore[index]
        assert not list(sweep.folder.root.rglob("*.tmp")), at


def test_a_driver_looks_for_room_for_models(sweep: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Path, int]] = []
    monkeypatch.setattr(driver_module, "room_for", lambda folder, n: asked.append((folder, n)))
    clock = [0.0]
    driver = sweep.open(tiny(trials=1), now=lambda: clock[0])
    driver.short_of_room = lambda: Short(3, 700)
    driver.tick()
    assert (asked, driver.book.summary().unsaved) == ([], 0)
    clock[0] = 6.0
    driver.tick()
    assert (asked, driver.book.summary().unsaved) == ([(sweep.folder.checkpoints, 700)], 3)


# ------------------------------------------------------------------------------------------------ a real one


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 400 kB."""
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)], capture_output=True)
    if made.returncode:
        pytest.skip("only root can mount a small file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("workers", ["0", pytest.param("1", marks=pytest.mark.slow)])
def test_a_sweep_on_a_full_disk_waits_and_ends_or_goes_on(workers: str, processes: Processes, small_disk: Path) -> None:
    out, ballast = small_disk / "study", small_disk / "ballast"
    study = ("run", SMOKE, "--trials", "3", "--set", "references=false", "--workers", workers, "--out", out)
    process = processes.start(*study, "--patience", "2")
    until((out / "study.yaml").exists, process)
    _fill(ballast)
    code, _, complaints = finish(process)
    assert code == 4, complaints
    told, ended = complaints.splitlines()
    assert "no space left on device" in told
    assert "The sweep waits 2 s for room" in told
    assert ended.endswith("and no room within 2 s. Make room; `cfsweep resume` goes on, as does `cfsweep confirm`.")
    again = processes.start("resume", out, "--workers", workers, "--patience", "100")
    assert again.stderr is not None
    assert "The sweep waits 100 s for room" in again.stderr.readline()
    ballast.unlink()
    code, _, complaints = finish(again)
    assert (code, complaints) == (0, "cfsweep: there is room again; the sweep goes on\n")
    now = status(out)
    assert (now.complete, now.done) == (True, 3)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(b"\0" * 512)
            except OSError:
                return
