"""A stream, a sweep over it, and the command line in a process of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cfsweep.config import StreamConfig
from cfsweep.training.streams import Stream, load_stream
from tests.sweeping.command import Processes
from tests.sweeping.confirming import CONFIG, Confirmed, confirmer
from tests.sweeping.in_process import Sweep


@pytest.fixture(scope="session")
def stream() -> Stream:
    """split-digits: 5 tasks of 2 classes."""
    return load_stream(StreamConfig())


@pytest.fixture
def sweep(tmp_path: Path, stream: Stream) -> Sweep:
    """A sweep over a new folder."""
    return Sweep(tmp_path / "study", stream)


@pytest.fixture
def sweep_beside(tmp_path: Path, stream: Stream) -> Sweep:
    """Another one."""
    return Sweep(tmp_path / "beside", stream)


@pytest.fixture
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """The command line, to be started in an empty folder."""
    processes = Processes(tmp_path_factory.mktemp("cwd"))
    yield processes
    processes.end()


@pytest.fixture(scope="session")
def swept_once(stream: Stream, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of twelve trials with one seed; the references have two learning rates."""
    sweep = Sweep(tmp_path_factory.mktemp("once") / "study", stream)
    sweep.train(sweep.open(CONFIG))
    return sweep.folder.root


@pytest.fixture
def root(swept_once: Path, tmp_path: Path) -> Path:
    """A copy of `swept_once`, to confirm in."""
    return Path(shutil.copytree(swept_once, tmp_path / "study"))


@pytest.fixture
def confirmed(root: Path, monkeypatch: pytest.MonkeyPatch) -> Confirmed:
    """Confirms trials of the sweep in `root`, in this process, with a `fault` before each step."""
    return confirmer(root, monkeypatch)


@pytest.fixture
def inside(root: Path, stream: Stream) -> Sweep:
    """What is confirmed."""
    return Sweep(root / "confirmed", stream)
