"""What is left of a Ray in the temporary folder. (That a real one leaves nothing: `test_sweeps`, `test_deaths`.)"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from ray.exceptions import RaySystemError

from cfsweep.errors import InputError
from cfsweep.sweeping.ray_backend import session
from cfsweep.sweeping.ray_backend.deaths import died
from cfsweep.sweeping.ray_backend.session import MARK, PREFIX, own_session, remove_dead

# A process that marks a folder as its own, says so, and lives until its input ends.
MARKS = "import sys; from pathlib import Path; from cfsweep.sweeping.ray_backend.session import _marked\n"
MARKS += "lock = _marked(Path(sys.argv[1])); print('marked', flush=True); sys.stdin.read()"


def of_ray(root: Path, name: str) -> Path:
    folder = root / f"session_{name}"
    (folder / "logs").mkdir(parents=True)
    (folder / "logs" / "raylet.out").write_text("begins\n")
    return folder


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of the Ray that is up, to which the link to the latest one points."""
    folder = of_ray(tmp_path, "mine")
    (tmp_path / "session_latest").symlink_to(folder)
    monkeypatch.setattr(session, "session_folder", lambda: folder)
    return folder


def test_it_is_closed_to_others_and_goes_at_the_end(mine: Path) -> None:
    mine.chmod(0o777)
    with own_session() as own:
        own.begin()
        assert own.folder == mine
        assert mine.stat().st_mode & 0o777 == 0o700
        assert (mine / MARK).exists()
        assert "Raylet received SIGTERM" in (mine / "logs" / "raylet.out").read_text()
        remove_dead(mine.parent)
        assert mine.exists()
    assert list(mine.parent.iterdir()) == []


def test_what_is_killed_while_its_ray_starts_leaves_a_marked_folder(mine: Path) -> None:
    with own_session() as own:
        own.made(mine)
        assert mine.stat().st_mode & 0o777 == 0o700
        assert (mine / MARK).exists()
        assert "Raylet received SIGTERM" in (mine / "logs" / "raylet.out").read_text()  # its agents end with it, too
    assert list(mine.parent.iterdir()) == []


def test_a_link_that_leads_nowhere_goes_too(mine: Path) -> None:
    latest = mine.parent / "session_latest"
    latest.unlink()
    latest.symlink_to(mine.parent / "session_of_the_dead")
    with own_session() as own:
        own.begin()
    assert list(mine.parent.iterdir()) == []


def test_on_a_cluster_a_folder_of_its_own_is_made_and_those_of_the_dead_go(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead, of_another = tmp_path / f"{PREFIX}dead", tmp_path / f"{PREFIX}another"
    for folder in (dead, of_another):
        folder.mkdir()
    os.close(session._marked(dead))
    with own_session() as own:
        own.begin(a_cluster=True)
        assert own.folder is not None
        assert {path.name for path in tmp_path.iterdir()} == {own.folder.name, of_another.name}
        assert (own.folder / MARK).exists()
        remove_dead(tmp_path, f"{PREFIX}*")
        assert own.folder.exists()
    assert list(tmp_path.iterdir()) == [of_another]


def test_without_a_ray_of_ours_nothing_goes(tmp_path: Path) -> None:
    other = of_ray(tmp_path, "other")
    with own_session() as own:
        assert own.folder is None
    assert other.exists()


def ends_by(error: BaseException) -> None:
    with own_session() as own:
        own.begin()
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InputError("no such stream")])
def test_it_goes_too_where_the_sweep_ends_early(error: BaseException, mine: Path) -> None:
    with pytest.raises(type(error)):
        ends_by(error)
    assert not mine.exists()


def test_it_stays_where_ray_has_failed(mine: Path) -> None:
    """Its logs say why."""
    error = died(cause := RaySystemError("gone"))
    error.__cause__ = cause
    with pytest.raises(InputError, match="Ray has failed"):
        ends_by(error)
    assert (mine / "logs" / "raylet.out").exists()
    remove_dead(mine.parent)
    assert not mine.exists()


def test_those_of_the_dead_go_and_of_no_one_else(tmp_path: Path) -> None:
    root, outside = tmp_path / "ray", tmp_path / "outside"
    lives, killed, others = (of_ray(root, name) for name in ("lives", "killed", "others"))
    outside.mkdir()
    (outside / MARK).write_text("")
    (root / "session_linked").symlink_to(outside)
    (root / "session_latest").symlink_to(others)
    processes = [
        subprocess.Popen([sys.executable, "-c", MARKS, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for folder in (lives, killed)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == b"marked\n"
    processes[1].kill()
    processes[1].wait()
    remove_dead(root)
    assert {path.name for path in root.iterdir()} == {
        "session_lives",
        "session_others",
        "session_linked",
        "session_latest",
    }
    assert (outside / MARK).exists()
    processes[0].communicate()
    remove_dead(root)
    assert not lives.exists()
    for process in processes:
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
    assert os.path.lexists(root / "session_latest")
