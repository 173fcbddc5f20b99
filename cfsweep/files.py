"""Writes a file whole or not at all, and knows it for whole; says which revision the files of a checkout have."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import os
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, TypeVar

from cfsweep.errors import FULL, InputError
from cfsweep.machine import memory_bytes

T = TypeVar("T")

_WAITS: ContextVar[tuple[Callable[[OSError, int | None], None], Callable[[], None]] | None]
_WAITS = ContextVar("_WAITS", default=None)  # of a full disk: see `patient`

SEAL_BYTES = hashlib.sha256().digest_size  # at the end of a sealed file


@contextmanager
def patient(wait: Callable[[OSError, int | None], None], over: Callable[[], None]) -> Iterator[None]:
    """Within it a write of this thread that finds the disk full is made again after `wait(error, needed)` has returned,
    with the bytes that are needed at least, where that is known; `over` is called once one has found room."""
    token = _WAITS.set((wait, over))
    try:
        yield
    finally:
        _WAITS.reset(token)


@contextmanager
def impatient() -> Iterator[None]:
    """Within it a write that finds the disk full fails, whatever is outside of it."""
    token = _WAITS.set(None)
    try:
        yield
    finally:
        _WAITS.reset(token)


def until_there_is_room(write: Callable[[], T], needed: Callable[[], int | None] = lambda: None) -> T:
    """What `write()` gives; where it finds the disk full it is called again within `patient`.

    Raises:
        OSError: as it raises; of a full disk, outside of `patient`.
    """
    while True:
        waits = _WAITS.get()
        try:
            written = write()
        except OSError as error:
            if waits is None or error.errno not in FULL:
                raise
            waits[0](error, needed())
        else:
            if waits is not None:
                waits[1]()
            return written


CACHE_VARIABLE = "CFSWEEP_CACHE"


def cache_folder(kind: str) -> Path:
    """Where files of this kind are kept: a folder of `$CFSWEEP_CACHE`, else of the folder cfsweep of the user's
    cache."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return expanded(given) / kind
    return expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "cfsweep" / kind


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> Path:
    """Calls `write` on a temporary file beside `path`, syncs it, renames it to `path`, and returns `path`.

    A reader sees the old content or the new, never a part; after a crash at most a `.tmp` file is left over.
    Where the disk is full it may wait (see `patient`), and call `write` again.

    Raises:
        OSError: the folder cannot be written to.
    """

    def size() -> int:
        write(content := io.BytesIO())
        return len(content.getvalue())

    return until_there_is_room(lambda: _write_once(path, write), size)


def _write_once(path: Path, write: Callable[[IO[bytes]], object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), 0o666 & ~_umask())  # a temporary file is its owner's alone
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):  # it has its name already
            os.unlink(temporary)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return path


def append_whole(path: Path, content: bytes, at: int) -> None:
    """Writes `content` at the end of the file, which is `at`, and syncs it; what lies beyond, a killed writer has left.
    Where the disk is full it may wait (see `patient`).

    Raises:
        OSError: it cannot be written; then the file ends `at`.
    """
    until_there_is_room(lambda: _append_once(path, content, at), lambda: len(content))


def _append_once(path: Path, content: bytes, at: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        os.ftruncate(handle, at)
        written = 0
        while written < len(content):
            written += os.pwrite(handle, content[written:], at + written)
        os.fsync(handle)
    except BaseException as error:  # Ctrl-C too: what is not known to be there would be written once more
        with contextlib.suppress(OSError):
            os.ftruncate(handle, at)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        os.close(handle)


def hold(file: IO[Any], where: Path) -> bool:
    """Locks an open file against other processes for as long as it is open; whether none holds it already.

    Raises:
        InputError: the file system of `where` knows no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise InputError(
            f"{where}: its file system knows no locks ({error.strerror}), so two could write there at once. Choose "
            "another place."
        ) from error
    return True


def read_bounded(path: Path) -> bytes:
    """The bytes of a file of a results folder.

    Raises:
        InputError: it is too large (`require_memory`).
        OSError: it cannot be read.
    """
    require_memory(path.stat().st_size, path)
    return path.read_bytes()


def require_memory(size: int, where: object) -> None:
    """Makes sure that a file of a results folder fits into memory before it is read: the kernel may promise more than
    there is, and kill whoever then takes it.

    Raises:
        InputError: it has more bytes than half of the memory.
    """
    most = memory_bytes() // 2
    if size > most:
        raise InputError(
            f"{where}: it has {size} bytes, and half of the memory here, {most}, are the most that are read. "
            "Move it elsewhere; `cfsweep repair` then makes a ledger or a journal anew."
        )


def write_sealed(path: Path, content: bytes) -> Path:
    """Writes `content` and its SHA-256, whole or not at all, for `read_sealed`."""
    return write_atomically(path, lambda file: file.writelines((content, hashlib.sha256(content).digest())))


def read_sealed(path: Path) -> bytes | None:
    """What `write_sealed` wrote into a file; None if it is not there any more as it was written.

    Raises:
        InputError: as `read_bounded`.
    """
    return unsealed(read_bounded(path))


def unsealed(sealed: bytes) -> bytes | None:
    """What is in a file of these bytes; None if they are not what `write_sealed` wrote.

    >>> unsealed(b"weights" + hashlib.sha256(b"weights").digest()), unsealed(b"weights")
    (b'weights', None)
    """
    content, digest = sealed[:-SEAL_BYTES], sealed[-SEAL_BYTES:]
    return content if hashlib.sha256(content).digest() == digest else None


def foreign_column(schema: Any) -> str | None:
    """The first column of an Arrow schema whose type is an extension, but none of Arrow's own, with what it is called:
    to read its values runs code of whoever registered that, as Ray does one that unpickles them."""
    for field in schema:
        name = _foreign_type(field.type)
        if name is not None:
            return f"`{field.name}` of the type {name}"
    return None


def _foreign_type(kind: Any) -> str | None:
    name: str | None = getattr(kind, "extension_name", None)
    if name is not None:
        return None if name.startswith("arrow.") else name
    inside = [kind.field(number).type for number in range(kind.num_fields)]
    inside += [kind.value_type] if hasattr(kind, "value_type") else []
    return next(filter(None, map(_foreign_type, inside)), None)


def expanded(path: str | Path) -> Path:
    """The path with `~` as the user's home; one of nobody, as it stands.

    Raises:
        InputError: it holds a NUL, as no path does.

    >>> expanded("~nosuchuser/x").name
    'x'
    """
    if "\0" in str(path):
        raise InputError(f"{str(path)!r}: a path holds no character NUL. Give another.")
    return Path(os.path.expanduser(path))


def open_regular(path: Path) -> BufferedReader:
    """A file, open to be read; to open a pipe would wait for ever, and a device has no end.

    Raises:
        OSError: there is none, it cannot be read, or it is something else.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise PermissionError(errno.EACCES, "A pipe, socket or device, and no file", str(path))
    return open(handle, "rb")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def git_revision(folder: Path) -> str | None:
    """The commit of the checkout that `folder` lies in (with `+dirty` if it was changed), or None outside of one."""

    def git(*args: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *args], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        if not git("ls-files", "__init__.py"):
            return None
        return git("rev-parse", "HEAD") + ("+dirty" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
