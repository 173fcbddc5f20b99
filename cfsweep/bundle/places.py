"""Bundles in a folder of this machine, or at a URI such as s3://bucket/folder."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs

from cfsweep.bundle.manifest import NAME
from cfsweep.bundle.writer import refuse_existing
from cfsweep.errors import InputError
from cfsweep.results.reader import filesystem


@contextmanager
def fetched(folder: str | Path) -> Iterator[Path]:
    """The bundle in `folder` as a folder of this machine; one at a URI is copied for as long as this lasts.

    Raises:
        InputError: the URI cannot be read. What is said of the copy is said of the URI.
    """
    if "://" not in str(folder):
        yield Path(folder)
        return
    fs, path = filesystem(folder)
    with tempfile.TemporaryDirectory(prefix="cfsweep-") as scratch, _said_of(scratch, str(folder)):
        local = Path(scratch) / "bundle"
        local.mkdir()
        try:
            if fs.get_file_info(f"{path}/{NAME}").type == pafs.FileType.File:  # else the empty folder says it
                pafs.copy_files(path, str(local), source_filesystem=fs, destination_filesystem=pafs.LocalFileSystem())
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{folder}: cannot be read ({error}). Check the URI and your credentials.") from error
        yield local


@contextmanager
def delivered(to: str | Path) -> Iterator[Path]:
    """A folder of this machine that is to be written as a bundle; to a URI it is copied when this ends well, its
    `model.json` last, so that there is a bundle only when it is whole.

    Raises:
        InputError: `to` exists, or cannot be written.
    """
    if "://" not in str(to):
        refuse_existing(Path(to))
        yield Path(to)
        return
    fs, path = filesystem(to)
    with _writing(to):
        if fs.get_file_info(path).type != pafs.FileType.NotFound:
            raise InputError(f"--to {to}: it exists. Choose another folder, or remove it.")
    with tempfile.TemporaryDirectory(prefix="cfsweep-") as scratch, _said_of(scratch, str(to)):
        local = Path(scratch) / "bundle"
        yield local
        with _writing(to):
            fs.create_dir(path)
            for file in sorted(local.iterdir(), key=lambda file: (file.name == NAME, file.name)):
                pafs.copy_files(str(file), f"{path}/{file.name}", pafs.LocalFileSystem(), fs)


@contextmanager
def _writing(to: str | Path) -> Iterator[None]:
    """Where a file system that does not let itself be written to becomes one line."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"--to {to}: cannot be written ({error}). Check the URI and your rights.") from error


@contextmanager
def _said_of(scratch: str, uri: str) -> Iterator[None]:
    """Where a complaint about the copy is one about the URI."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace(f"{scratch}/bundle", uri)) from error
