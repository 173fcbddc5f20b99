"""A stream, a sweep over it, and the command line in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cfsweep.config import StreamConfig
from cfsweep.training.streams import Stream, load_stream
from tests.sweep.in_process import Sweep


@pytest.fixture(scope="session")
def stream() -> Stream:
    """split-digits: 5 tasks of 2 classes."""
    return load_stream(StreamConfig())


@pytest.fixture
def sweep(tmp_path: Path, stream: Stream) -> Sweep:
    """A sweep over a new folder."""
    return Sweep(tmp_path / "study", stream)


@pytest.fixture(scope="session")
def environment(project_root: Path) -> dict[str, str]:
    """That of a user, as far as it matters: no cluster, no data, no rounding but the sweep's own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "TUNE_", "MKL_")) and k != "CFSWEEP_DATA"}
    return {**kept, "PYTHONPATH": str(project_root), "COLUMNS": "200"}


@pytest.fixture(scope="session")
def start(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the command line (or another `program`); whatever is still alive at the end is killed."""
    started: list[subprocess.Popen[str]] = []
    empty = tmp_path_factory.mktemp("cwd")

    def begin(
        *args: str | Path, cwd: Path = empty, program: tuple[str, ...] = ("-m", "cfsweep.cli"), **more: str
    ) -> subprocess.Popen[str]:
        command = [sys.executable, *program, *map(str, args)]
        process = subprocess.Popen(
            command, cwd=cwd, env={**environment, **more}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
