"""What of its machine a process may use: a container, a batch job or a service may be given less than all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

_LIMITS = {"": ("sys/fs/cgroup", "memory.max"), "memory": ("sys/fs/cgroup/memory", "memory.limit_in_bytes")}
"""By controller, which version 2 of control groups does not name: the folder of all groups, and the file in the folder
of each that has its limit."""


def cpus() -> int:
    """The number of CPUs that this process may run on: those it is bound to, or less where its container is given less
    of their time, or the environment says so (`LOKY_MAX_CPU_COUNT`)."""
    import joblib  # not for those who ask for memory alone

    return int(joblib.cpu_count())


@cache  # it is asked for with every file that is read
def memory_bytes(root: Path = Path("/")) -> int:
    """The bytes of memory that this process may take at most: the machine's, or less where a control group that it is
    in is allowed less. `root` is where `proc` and `sys` are found.

    References:
        The Linux kernel's "Control Group v2", `memory.max`; "Memory Resource Controller", `memory.limit_in_bytes`.
    """
    return min((os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *_limits(root)))


def _limits(root: Path) -> Iterator[int]:
    """The limits of the groups that this process is in, those around them included."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        own = Path(group.lstrip("/"))
        for controller in _LIMITS.keys() & set(controllers.split(",")):
            top, name = _LIMITS[controller]
            # Within a container the path may be the host's, of which only the top is there.
            for around in (own, *own.parents):
                limit = _read(root / top / around / name)
                if limit.isdecimal():  # it is `max` where there is none
                    yield int(limit)


def _read(path: Path) -> str:
    """What a small file says; nothing where it is not there, as outside of Linux."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
