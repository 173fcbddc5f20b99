"""A stream, and a sweep over it."""

from __future__ import annotations

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
