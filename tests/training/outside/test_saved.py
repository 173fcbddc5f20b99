"""A state goes through bytes: as it was, and nothing is left lying about."""

from __future__ import annotations

import contextlib
import copy
import io
import tarfile
import tempfile
from pathlib import Path

import pytest

from cfsweep.training.outside import Saved, handed, saved


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def filled(folder: Path) -> Path:
    (folder / "below" / "empty").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(bytes(range(256)))
    (folder / "below" / "words.txt").write_text("äöü")
    (folder / "link.txt").symlink_to("weights.bin")
    return folder


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def test_bytes_and_none_stay_what_they_are() -> None:
    for state in (b"", b"abc", None):
        with handed(saved(state)) as again:
            assert again == state


def test_a_folder_comes_back_with_its_files_and_is_gone_afterwards(tmp_path: Path, own_temporary_folder: Path) -> None:
    folder = filled(tmp_path / "state")
    before = contents(folder)
    with handed(saved(folder)) as again:
        assert isinstance(again, Path)
        assert again != folder
        assert contents(again) == before, "a link is a copy of what it leads to"
        (again / "new.txt").write_text("changed")
    assert contents(folder) == before, "it is left as it was"
    assert list(own_temporary_folder.iterdir()) == []


def test_equal_folders_give_equal_bytes(tmp_path: Path) -> None:
    assert saved(filled(tmp_path / "one")) == saved(filled(tmp_path / "two"))


def test_what_mkdtemp_has_made_is_removed_and_nothing_else(tmp_path: Path, own_temporary_folder: Path) -> None:
    throwaway, beside, below = Path(tempfile.mkdtemp()), own_temporary_folder / "mine", tmp_path / "tmp"
    for folder in (beside, below):
        folder.mkdir()
    for folder in (throwaway, beside, below):
        saved(folder)
    assert not throwaway.exists()
    assert beside.exists()
    assert below.exists()


def test_the_folder_that_was_handed_in_may_be_returned() -> None:
    with handed(saved(Path(tempfile.mkdtemp()))) as folder:
        assert isinstance(folder, Path)
        (folder / "a").write_text("1")
        again = saved(folder)
    with handed(again) as folder:
        assert isinstance(folder, Path)
        assert (folder / "a").read_text() == "1"
    assert Saved() == saved(None)


def archive_of(*members: tuple[tarfile.TarInfo, bytes]) -> Saved:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return Saved("folder", file.getvalue())


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.mode = kind, link, 0o4777
    return found


HOSTILE = {
    "a name above": [(member("../../outside/out.txt"), b"x")],
    "a name of anywhere": [(member("{outside}/out.txt"), b"x")],
    "a link above": [(member("a", tarfile.SYMTYPE, "../../outside"), b""), (member("a/out.txt"), b"x")],
    "a link to anywhere": [(member("a", tarfile.SYMTYPE, "{outside}"), b""), (member("a/out.txt"), b"x")],
    "another name for a file above": [(member("a", tarfile.LNKTYPE, "../../outside/kept.txt"), b"")],
    "a device": [(member("a", tarfile.CHRTYPE), b"")],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_archive_of_a_stranger_writes_nowhere_else(name: str, tmp_path: Path, own_temporary_folder: Path) -> None:
    """A checkpoint that was altered may hold any."""
    (outside := tmp_path / "outside").mkdir()
    (outside / "kept.txt").write_text("kept")
    members = copy.deepcopy(HOSTILE[name])
    for of, _ in members:
        of.name, of.linkname = (text.format(outside=outside) for text in (of.name, of.linkname))
    with contextlib.suppress(tarfile.FilterError, OSError), handed(archive_of(*members)) as again:
        assert isinstance(again, Path)
        for path in again.rglob("*"):
            assert path.is_dir() or (path.is_file() and not path.is_symlink())
            assert path.is_dir() or path.stat().st_nlink == 1
    assert contents(outside) == {"kept.txt": b"kept"}
    assert list(own_temporary_folder.iterdir()) == []


def test_no_file_of_an_archive_runs_as_another_user(own_temporary_folder: Path) -> None:
    with handed(archive_of((member("a"), b"x"))) as again:
        assert isinstance(again, Path)
        assert (again / "a").stat().st_mode & 0o7022 == 0
