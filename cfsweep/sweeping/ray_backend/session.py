"""The folder that a Ray of ours, or a sweep on a cluster, has in the temporary folder: closed to others, and removed
when it is over; that of a process which was killed at the next start."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cfsweep.sweeping.ray_backend.ray_internals import agents_end_with_raylet, session_folder

PREFIX = "cfsweep-cluster-"  # of the name of a folder that is not within Ray's
MARK = "cfsweep.lock"  # held locked by the process that has started this Ray, as long as it lives


class OwnSession:
    """The folder of the Ray that this process has started, or for what it keeps while it is on a cluster; None before
    that."""

    folder: Path | None = None
    lock: int | None = None

    def made(self, folder: Path) -> None:
        """To be called when the folder is there: marks it as that of this process, and closes it to other users;
        and has its agents end with its raylet."""
        self.folder = folder
        folder.chmod(0o700)  # Ray lets everybody on this machine write to its sockets and logs
        self.lock = _marked(folder)
        agents_end_with_raylet(folder)

    def begin(self, a_cluster: bool = False) -> None:
        """To be called when Ray is up: removes the folders of others that were killed. On a cluster, whose own Ray's
        folder is, one is made."""
        remove_dead(Path(tempfile.gettempdir()), f"{PREFIX}*")
        if a_cluster:
            self.made(Path(tempfile.mkdtemp(prefix=PREFIX)))
            return
        folder = self.folder or session_folder()
        if folder is None:
            return
        if self.folder is None:
            self.made(folder)
        remove_dead(folder.parent)

    def end(self, stays: bool) -> None:
        """Ray has been shut down: removes the folder, or leaves it to the next start."""
        if self.folder is None:
            return
        if self.lock is not None:
            os.close(self.lock)
        if not stays:
            remove(self.folder)


@contextmanager
def own_session() -> Iterator[OwnSession]:
    """Within it a session may begin; its folder stays where Ray has failed, since its logs say why."""
    session = OwnSession()
    try:
        yield session
    except BaseException as error:
        session.end(stays=type(error.__cause__).__module__.startswith("ray."))
        raise
    session.end(stays=False)


def _marked(folder: Path) -> int:
    """The open lock of the mark that is put there; whoever finds the mark finds it locked."""
    beside = folder / f".{MARK}"
    lock = os.open(beside, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    beside.rename(folder / MARK)
    return lock


def remove_dead(root: Path, names: str = "session_*") -> None:
    """Removes the folders in `root` with such `names` that are marked by processes that are no more. What has no mark
    is not ours."""
    for mark in root.glob(f"{names}/{MARK}"):
        with suppress(OSError):  # another user's, or held
            lock = os.open(mark, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if mark.parent.stat().st_uid == os.getuid() and not mark.parent.is_symlink():
                    remove(mark.parent)
            finally:
                os.close(lock)


def remove(folder: Path) -> None:
    """Removes a session's folder, and the link to the latest one where it was that, or leads nowhere."""
    shutil.rmtree(folder, ignore_errors=True)
    latest = folder.parent / "session_latest"
    with suppress(OSError):
        if latest.is_symlink() and not latest.exists():
            latest.unlink()
