"""Runs a command, and watches the processor time and the memory of it and of all that it starts (Linux's /proc)."""

from __future__ import annotations

import os
import subprocess
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

PERIOD_S = 0.5
LINGER_S = 20.0  # how long what the command started may outlive it
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Usage:
    """Clock times of begin and end; samples of (clock time, processor seconds so far) of the whole tree; its most
    resident bytes at any sample, where a page that processes share counts in each of them."""

    began: float = 0.0
    ended: float = 0.0
    cpu: list[tuple[float, float]] = field(default_factory=list)
    peak_bytes: int = 0

    @property
    def cpu_s(self) -> float:
        return self.cpu[-1][1] if self.cpu else 0.0

    def cpu_between_s(self, begin: float, end: float) -> float:
        """Processor seconds that passed between two clock times, to one sample's precision.

        >>> Usage(cpu=[(0.0, 0.0), (1.0, 2.0), (2.0, 3.0)]).cpu_between_s(0.9, 2.5)
        3.0
        """
        return self._cpu_at(end) - self._cpu_at(begin)

    def _cpu_at(self, moment: float) -> float:
        at = bisect_right(self.cpu, (moment, float("inf")))
        return self.cpu[at - 1][1] if at else 0.0


class Tree:
    """A process and all its descendants, also those whose parents have gone; (pid, start) tells processes apart."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.members: dict[tuple[int, int], float] = {}  # processor seconds when last seen
        self.alive: set[tuple[int, int]] = set()

    def sample(self) -> tuple[float, int]:
        """(processor seconds of all processes seen so far, resident bytes of those alive)."""
        seen = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(FileNotFoundError, ProcessLookupError):
                    seen[int(entry.name)] = _stat(entry)
        mine = {pid for pid, (_, start, *_) in seen.items() if pid == self.root or (pid, start) in self.members}
        grew = True
        while grew:
            more = {pid for pid, (parent, *_) in seen.items() if parent in mine} - mine
            mine |= more
            grew = bool(more)
        self.alive = {(pid, seen[pid][1]) for pid in mine if not seen[pid][4]}
        self.members |= {(pid, seen[pid][1]): seen[pid][2] for pid in mine}
        return sum(self.members.values()), sum(seen[pid][3] for pid in mine)


def _stat(entry: Path) -> tuple[int, int, float, int, bool]:
    """(parent, start in ticks since boot, processor seconds, resident bytes, is it but a zombie)."""
    fields = (entry / "stat").read_text().rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    return int(fields[1]), int(fields[19]), cpu_s, int(fields[21]) * PAGE_BYTES, fields[0] == "Z"


def watched(command: Sequence[str], environment: Mapping[str, str], cwd: Path) -> Usage:
    """Runs the command to its end, and until all that it started has ended too.

    Raises:
        RuntimeError: it failed; with the end of what it printed.
    """
    usage = Usage(began=time.time())
    log = cwd / "output.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, cwd=cwd, stdout=output, stderr=subprocess.STDOUT)
        tree = Tree(process.pid)
        while True:
            over = process.poll() is not None  # before the sample, so that the last one is complete
            cpu_s, resident = tree.sample()
            usage.cpu.append((time.time(), cpu_s))
            usage.peak_bytes = max(usage.peak_bytes, resident)
            if over:
                break
            with suppress(subprocess.TimeoutExpired):
                process.wait(PERIOD_S)
        usage.ended = time.time()
    if process.returncode:
        raise RuntimeError(
            f"{' '.join(command)} failed with exit code {process.returncode}:\n{log.read_text()[-2000:]}"
        )
    deadline = time.monotonic() + LINGER_S
    while tree.alive and time.monotonic() < deadline:
        time.sleep(PERIOD_S)
        tree.sample()
    return usage
