"""Single files of a results folder: found and written by path and by address."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.files import file_in, place_in, write_whole
from cfsweep.errors import InputError


def test_a_uri_is_read_like_a_folder(known: Path) -> None:
    assert file_in(known.as_uri(), "study.yaml") == file_in(known, "study.yaml") == (known / "study.yaml").read_bytes()
    assert file_in(known.as_uri(), "nothing") is None
    assert place_in(known, "x.json") == known / "x.json"
    assert place_in(known.as_uri(), "x.json") == f"{known.as_uri()}/x.json"


def test_an_address_is_written_to(tmp_path: Path) -> None:
    place = place_in(f"{tmp_path.as_uri()}/new", "file")
    assert write_whole(place, lambda file: file.write(b"content")) == place
    assert (tmp_path / "new" / "file").read_bytes() == b"content"
    (tmp_path / "closed").write_text("")
    with pytest.raises(InputError, match=r"closed/file: cannot be written .* Give another place\."):
        write_whole(place_in(f"{tmp_path.as_uri()}/closed", "file"), lambda file: file.write(b"content"))


def test_a_file_replaces_the_old_one_or_says_that_it_cannot(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    assert write_whole(path, lambda file: file.write(b"new")) == path
    assert path.read_bytes() == b"new"
    with pytest.raises(InputError, match=r"file/below: cannot be written .* Give another place\."):
        write_whole(path / "below", lambda file: file.write(b"new"))
