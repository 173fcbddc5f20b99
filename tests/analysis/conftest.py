"""Results folders that the tests of analysis look at."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.analysis.folder import Folder, lively, matrix_for

# (stability, plasticity) of trials 0 to 4. On the front: 1, 2, and 4, which equals 2.
KNOWN = ((0.60, 0.70), (0.50, 0.95), (0.80, 0.90), (0.70, 0.90), (0.80, 0.90))


@pytest.fixture(scope="session")
def known_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five finished trials, three seeds that differ by 0.01 in both directions, references, one stopped, one failed.

    Read only: the same folder for all tests.
    """
    folder = Folder(tmp_path_factory.mktemp("once") / "known")
    for seed in (0, 1, 2):
        shift = 0.01 * seed - 0.01
        for trial, (stability, plasticity) in enumerate(KNOWN):
            settings = {"ewc_lambda": float(10**trial), "replay_ratio": 0.1 * trial}
            folder.run(trial, seed, matrix_for(stability + shift, plasticity + shift), settings=settings)
        folder.run(-1, seed, matrix_for(0.40 + shift, 0.96))
        folder.run(-2, seed, matrix_for(0.90 + shift, 0.93))
        folder.run(5, seed, matrix_for(0.1, 0.2)[:1], state="stopped")
    folder.run(6, 0, matrix_for(0.99, 0.99))
    folder.run(6, 1, [], state="failed", failure="loss became NaN\nat step 17")
    return folder.write()


@pytest.fixture
def known(known_once: Path, tmp_path: Path) -> Path:
    """A copy of `known_once`, to write to."""
    return Path(shutil.copytree(known_once, tmp_path / "known"))


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like a real sweep: 48 trials, three seeds, five tasks. Read only."""
    return lively(tmp_path_factory.mktemp("sweep") / "demo").write()
