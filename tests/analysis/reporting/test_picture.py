"""The still picture of the front, in every format, and when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

import analysis
from analysis.reporting.picture import picture
from cfsweep.errors import InputError
from tests.analysis.folder import Folder


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_still_pictures(sweep: Path, tmp_path: Path, suffix: str, magic: bytes) -> None:
    runs = analysis.load(sweep)
    found = analysis.front(analysis.trials(runs), runs=runs)
    path = picture(found, tmp_path / f"front.{suffix}", 5, "costs $5 & <b>")
    assert path.read_bytes().startswith(magic)


def test_pictures_that_cannot_be(known: Path, tmp_path: Path) -> None:
    empty = analysis.front(analysis.trials(analysis.load(Folder(tmp_path).write())))
    with pytest.raises(InputError, match="unknown picture format `gif`"):
        picture(empty, tmp_path / "front.gif", 3)
    with pytest.raises(InputError, match=r"nothing to draw\. No trial has finished yet"):
        picture(empty, tmp_path / "front.png", 3)
