"""What tests of bundles may ask for."""

from __future__ import annotations

import pytest


@pytest.fixture
def no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes no program into a bundle, which takes most of the time."""
    monkeypatch.setattr("cfsweep.bundle.program.Program.save", lambda program, path, pack: path.write_bytes(b""))
