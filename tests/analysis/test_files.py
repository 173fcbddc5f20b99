"""Single files of a results folder: found by path and by URI, written in local folders alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.files import file_in, local_folder, write_whole
from cfsweep.errors import InputError


def test_a_uri_is_read_like_a_folder(known: Path) -> None:
    assert file_in(known.as_uri(), "study.yaml") == file_in(known, "study.yaml") == (known / "study.yaml").read_bytes()
    assert file_in(known.as_uri(), "nothing") is None
    assert local_folder(known.as_uri()) == known


def test_remote_folders_are_not_written_to() -> None:
    with pytest.raises(InputError, match="writes local ones"):
        local_folder("mock:///x")


def test_a_file_replaces_the_old_one_or_says_that_it_cannot(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    assert write_whole(path, lambda file: file.write(b"new")) == path
    assert path.read_bytes() == b"new"
    with pytest.raises(InputError, match=r"file/below: cannot be written .* Give another place\."):
        write_whole(path / "below", lambda file: file.write(b"new"))
