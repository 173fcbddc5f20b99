"""One writer at a time, in a store that knows no locks.

A writer leaves a claim, a small file of its own, and then looks for the claims of others: who sees one that lives takes
its own back. Of two that come at once, each has left its claim before it looks, so that one of them at least sees the
other, and both never write. That needs a store in which a file is listed as soon as it is written, as S3, GCS and Azure
do, and no conditional writes. The holder writes its claim anew from time to time; one that has not been for
`STALE_S` is dead, as is one whose process has ended on this machine. All times are those of the store's clock.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cfsweep.errors import InputError
from cfsweep.results.store import Store

CLAIMS = ".writers"
RENEW_S, STALE_S = 20.0, 120.0


class Lease:
    """The right to write to a store, once it is `taken`."""

    def __init__(self, store: Store, renew_s: float = RENEW_S, stale_s: float = STALE_S) -> None:
        self.store, self.renew_s, self.stale_s = store, renew_s, stale_s
        self.name = f"{CLAIMS}/{uuid.uuid4().hex}.json"
        self.content = json.dumps({**this_process(), "host": socket.gethostname()}).encode()
        self.renewed_at = -float("inf")
        self.lost = False

    def take(self) -> None:
        """Takes it.

        Raises:
            InputError: another writer holds it.
            OSError, pyarrow.ArrowException: the store does not let itself be written to.
        """
        self._claim()
        try:
            self._refuse_others()
        except BaseException:
            self.release()
            raise

    def _refuse_others(self) -> None:
        claims = self.store.entries(CLAIMS)
        if self.name not in claims:
            raise InputError(
                f"{self.store.address}: another cfsweep has taken this study over. Wait for it, or stop it."
            )
        now = claims[self.name].written_at
        for name, entry in claims.items():
            if name == self.name:
                continue
            age = now - entry.written_at
            said = _said_in(self.store, name)
            if said is None:  # taken back meanwhile
                continue
            if age < self.stale_s and not has_ended(said):
                raise InputError(
                    f"{self.store.address}: another cfsweep is writing to this study ({_told(said, age)}). Wait for "
                    f"it, or stop it; after {self.stale_s:.0f} s without a word it counts as dead."
                )
            self.store.remove(name)

    @property
    def may_write(self) -> bool:
        """Whether nobody can have taken it over yet."""
        return not self.lost and _passed() - self.renewed_at < self.stale_s

    def keep(self) -> None:
        """Renews it where that is due; it is `lost` where another writer has taken it over.

        Raises:
            OSError, pyarrow.ArrowException: the store cannot be asked.
        """
        since = _passed() - self.renewed_at
        if self.lost or since < self.renew_s:
            return
        if not self.store.has(self.name):
            self.lost = True
            return
        self._claim()
        if since >= self.stale_s / 2:  # it may have counted as dead just now
            try:
                self._refuse_others()
            except InputError:
                self.lost = True
                self.release()

    def release(self) -> None:
        """Gives it back."""
        self.store.remove(self.name)

    def _claim(self) -> None:
        began = _passed()
        self.store.write(self.name, self.content)
        self.renewed_at = began


def _passed() -> float:
    """Seconds since some moment, those too in which the machine slept: others may have taken over meanwhile."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.time()


def writer(store: Store) -> str | None:
    """Who seems to write to a store now, in words, by this machine's clock; None where nobody does."""
    now = time.time()
    for name, entry in store.entries(CLAIMS).items():
        age = now - entry.written_at
        said = _said_in(store, name)
        if age < STALE_S and said is not None and (said.get("pid") == os.getpid() or not has_ended(said)):
            return _told(said, age)
    return None


def _told(said: Mapping[str, Any], age: float) -> str:
    who = f"process {said['pid']} on {said['host']}" if {"pid", "host"} <= said.keys() else "one that says not which"
    return f"{who}, last heard of {max(0, age):.0f} s ago"


def _said_in(store: Store, name: str) -> dict[str, Any] | None:
    content = store.read(name)
    if content is None:
        return None
    try:
        said = json.loads(content)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def this_process() -> dict[str, Any]:
    """What tells this process from all others, and the machine (or container) by which it can be looked for."""
    return {"machine": _machine(), "pid": os.getpid(), "began": _began(os.getpid())}


def has_ended(process: Mapping[str, Any]) -> bool:
    """Whether a process, as `this_process` describes it, was one of this machine and has ended; or is this one, which
    has begun anew."""
    machine = _machine()
    if machine is None or process.get("machine") != machine or not isinstance(process.get("pid"), int):
        return False
    pid = process["pid"]
    began = _began(pid)
    if began is None:
        return not _is_there(pid)  # its beginning may be hidden from other users
    return pid == os.getpid() or began != process.get("began")


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True


def _machine() -> str | None:
    """The boot of this machine, and the space in which its processes are numbered; None where that is not known."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return None


def _began(pid: int) -> str | None:
    """When a process began, in ticks since the boot; None where no such process is seen."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None
