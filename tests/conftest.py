"""What any test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# As on a worker of a sweep (cfsweep/sweep/cluster.py); it must stand before torch is imported.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")


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
