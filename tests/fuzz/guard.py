"""Runs the command line in a child of this process, within limits of memory, of time and of file size."""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MORE_BYTES = 2 * 2**30  # of addresses, beside those that this process has
FILE_BYTES = 2**27
CPU_S = 20
TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = (
    *("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.link", "os.truncate", "os.chmod"),
    "shutil.rmtree",
)
WALL_S = 60  # a child that waits for ever takes no time of the CPU
RAISED = 70  # the exit code of a child in which an error came through


@dataclass(frozen=True)
class Ended:
    """How a call ended: its exit code (negative: by which signal), and what it printed."""

    code: int
    out: str
    err: str


def call(args: Sequence[str], folder: Path, cpu_s: int = CPU_S, wall_s: float = WALL_S) -> Ended:
    """`cfsweep ARGS` in `folder`, in a process of its own that has all loaded what this one has."""
    printed = [folder / ".out", folder / ".err"]
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        try:
            _called(args, folder, printed, cpu_s)
        finally:
            os._exit(RAISED)
    handle = os.pidfd_open(child)
    try:
        if not select.select([handle], [], [], wall_s)[0]:
            os.kill(child, signal.SIGKILL)
    finally:
        os.close(handle)
    _, status = os.waitpid(child, 0)
    out, err = (path.read_text(errors="replace") for path in printed)
    for path in printed:
        path.unlink()
    return Ended(os.waitstatus_to_exitcode(status), out, err)


def _keep_to(*places: Path) -> None:
    """From now on nothing of this process is written elsewhere: a case may name any file of the machine, and whoever
    fuzzes may be allowed to write it."""
    own = [place.resolve() for place in places]

    def refuse(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            paths = args[:1] if (args[2] or 0) & TO_WRITE else ()
        else:
            paths = args[:2] if event in CHANGES else ()
        for path in paths:
            if isinstance(path, str | bytes | os.PathLike):
                where = Path(os.fsdecode(path)).absolute()
                real = where.parent.resolve() / where.name
                if not any(real.is_relative_to(place) for place in own):
                    raise PermissionError(errno.EACCES, "outside of the case", str(where))

    sys.addaudithook(refuse)


def _called(args: Sequence[str], folder: Path, printed: Sequence[Path], cpu_s: int) -> None:
    """In the child: never returns but by an error of its own."""
    for number, path in zip((1, 2), printed, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", errors="backslashreplace") for number in (1, 2))
    os.chdir(folder)
    os.fsync = lambda handle: None  # nobody pulls the plug
    for name in ("CFSWEEP_DATA", "RAY_ADDRESS"):
        os.environ.pop(name, None)
    os.environ |= {"HOME": str(folder), "CFSWEEP_CACHE": str(folder / ".cache"), "COLUMNS": "200"}
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    for limit, most in (
        (resource.RLIMIT_AS, now + MORE_BYTES),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # it is told as an error then
    _keep_to(folder, Path(tempfile.gettempdir()), Path("/dev"))
    code = RAISED
    try:
        from cfsweep import cli

        sys.argv = ["cfsweep", *args]
        cli.main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
