"""What stands in the environment is written into no file. (Ray's own logs: `sweeping/ray_backend/test_sweeps.py`.)"""

from __future__ import annotations

from pathlib import Path

import pytest

from cfsweep.bundle import write
from cfsweep.config import Space, StudyConfig
from cfsweep.testing.packs import trained_once
from tests.conftest import Run
from tests.sweeping.command import SECRETS, files_with_a_secret


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


def test_one_that_is_written_is_found(tmp_path: Path) -> None:
    for number, value in enumerate(SECRETS.values()):
        (tmp_path / f"{number}").write_bytes(b"\0" + value.encode() + b"\xff")
    (tmp_path / "other").write_bytes(b"nothing")
    assert len(files_with_a_secret(tmp_path)) == len(SECRETS)


def test_neither_by_a_sweep_nor_its_report_nor_a_bundle(run: Run, smoke: Path, tmp_path: Path) -> None:
    out = tmp_path / "study"
    for command in (
        ("run", smoke, "--trials", "2", "--workers", "0", "--out", out),
        ("select", out),
        ("report", out),
        ("front", out, "--image", out / "front.svg"),
    ):
        assert run(*command)[0] == 0
    pack = trained_once(("ewc",), "class-il")
    study = StudyConfig(space=Space(ingredients=pack.spec.ingredients))
    write(pack, study, {"study_id": "0123456789ab", "git_revision": None}, tmp_path / "bundle")
    assert len(list(tmp_path.rglob("*"))) > 20
    assert files_with_a_secret(tmp_path) == []
