"""What any test may ask for."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# As on a worker of a sweep (cfsweep/sweeping/ray_backend/cluster.py); it must stand before torch is imported.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

Run = Callable[..., tuple[int, str, str]]


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: whoever looks for garbage need not look at it each time."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def no_sync() -> Iterator[None]:
    """Nobody waits for the disk, which would be a good part of the time: no test pulls the plug. That files are synced,
    and when, `test_files.py` and `sweeping/search/test_storage.py` see."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def own_code() -> Iterator[None]:
    """What tests bring is the user's own code, wherever it lies. What of a file's is refused, `training/test_trust.py`
    sees."""
    from cfsweep.training.plugins import trusting

    with trusting():
        yield


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Calls the command line in this process, in an empty folder; gives (exit code, output, complaints)."""
    from cfsweep import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("CFSWEEP_DATA", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def call(*args: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cfsweep", *map(str, args)])
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        with pytest.raises(SystemExit) as ended:
            cli.main()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return call


@pytest.fixture(scope="session")
def smoke(project_root: Path) -> Path:
    """A search space that trains in a moment."""
    return project_root / "search_spaces" / "smoke.yaml"


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with the real MNIST and FashionMNIST files; skips where there is none."""
    given = os.environ.get("CFSWEEP_DATA")
    if not given:
        pytest.skip(
            "CFSWEEP_DATA is unset: set it to a folder in torchvision's layout (MNIST/raw/..., FashionMNIST/raw/...)"
        )
    root = Path(given).absolute()
    if not root.is_dir():
        pytest.fail(f"CFSWEEP_DATA={given} is not a folder")
    return root


def without_program(patch: pytest.MonkeyPatch) -> None:
    """Has no program written into a bundle, which takes most of the time."""
    patch.setattr("cfsweep.bundle.program.Program.save", lambda program, path, pack: path.write_bytes(b""))


@pytest.fixture
def no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """`without_program`, for one test."""
    without_program(monkeypatch)
