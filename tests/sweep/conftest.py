"""A stream, a sweep over it, and the command line in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cfsweep.config import StreamConfig
from cfsweep.training.streams import Stream, load_stream
from tests.sweep.command import Processes
from tests.sweep.in_process import Sweep


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
