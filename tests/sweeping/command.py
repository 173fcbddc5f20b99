"""The command line in a process of its own."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environment() -> dict[str, str]:
    """That of a user, as far as it matters: no cluster, no data, no rounding but the sweep's own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "TUNE_", "MKL_")) and k != "CFSWEEP_DATA"}
    return {**kept, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


# What stands in the environment of many a machine, and may be in no file.
SECRETS = {
    name: f"secret-of-{number}-0123456789abcdef"
    for number, name in enumerate(("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN", "RAY_AUTH_TOKEN"))
}


def files_with_a_secret(folder: Path, *more: str) -> list[Path]:
    """The files below a folder that hold one of the `SECRETS`, or one `more`."""
    secrets = [secret.encode() for secret in (*SECRETS.values(), *more)]
    found = []
    for path in filter(Path.is_file, folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            content = path.read_bytes()
            found += [path] if any(secret in content for secret in secrets) else []
    return found


class Processes:
    """Starts processes, until it is `closed`: then those that are still alive are killed."""

    def __init__(self, cwd: Path) -> None:
        self.cwd, self.environment, self.closed = cwd, environment(), False
        self.lock = threading.Lock()  # closed by one thread while another one starts a process
        self.started: list[subprocess.Popen[str]] = []

    def start(
        self, *args: str | Path, cwd: Path | None = None, program: tuple[str, ...] = ("-m", "cfsweep.cli"), **more: str
    ) -> subprocess.Popen[str]:
        """The command line (or another `program`) with these arguments, and `more` in its environment."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with self.lock:
            if self.closed:
                raise RuntimeError("no more processes are started")
            process: subprocess.Popen[str] = subprocess.Popen(
                [sys.executable, *program, *map(str, args)],
                cwd=cwd or self.cwd,
                env={**self.environment, **more},
                text=True,
                **pipes,  # type: ignore[call-overload]
            )
            self.started.append(process)
        return process

    def close(self) -> None:
        with self.lock:
            self.closed = True
        for process in self.started:
            if process.poll() is None:
                process.kill()

    def end(self) -> None:
        """Closes it, and the pipes; nobody else may be reading them."""
        self.close()
        for process in self.started:
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()


def finish(process: subprocess.Popen[str], timeout_s: float = 400) -> tuple[int, str, str]:
    """(exit code, standard output, standard error)."""
    out, err = process.communicate(timeout=timeout_s)
    return process.returncode, out, err


def until(condition: Callable[[], object], process: subprocess.Popen[str], timeout_s: float = 400) -> None:
    """Waits for the condition while the process lives."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def descendants(process: int) -> dict[int, str]:
    """All that a process has started, and what those have started, with the names of their programs."""
    found: dict[int, str] = {}
    for pid in map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split()):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            name = Path(f"/proc/{pid}/cmdline").read_text().partition("\0")[0].rpartition("/")[2]
            found |= {pid: name, **descendants(pid)}
    return found


def listening(processes: Mapping[int, str]) -> list[tuple[str, int, str]]:
    """The addresses and ports at which these processes listen, and the program of each."""
    of: dict[str, str] = {}
    for pid, name in processes.items():
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):
                of[os.readlink(handle)] = name
    found = []
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            local, state = fields[1], fields[3]
            name = of.get(f"socket:[{fields[9]}]")
            if state == "0A" and name is not None:
                host, _, port = local.partition(":")
                words = [bytes.fromhex(host[i : i + 8])[::-1] for i in range(0, len(host), 8)]
                found.append((socket.inet_ntop(family, b"".join(words)), int(port, 16), name))
    return sorted(found)


def new_checkpoints(folder: Path) -> Callable[[], bool]:
    """Whether a pack has finished a task since this was called."""
    began = time.time_ns()

    def any_new() -> bool:
        with contextlib.suppress(FileNotFoundError):
            return any(path.stat().st_mtime_ns > began for path in (folder / "checkpoints").glob("pack*.pt"))
        return False

    return any_new
