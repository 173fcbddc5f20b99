"""What a sweep says and does where Ray itself has died, not the code of a pack.

Often Ray raises an error, and `died` is what is told. But where the raylet or the GCS of this machine was killed (by
the kernel, for memory), Ray's library ends the process that drives the sweep by itself, from a thread of its own:
`_Exit(1)` and a line of C++, 15 s after the raylet's death and 60 s after the GCS's (Ray 2.60); and as soon as another
cluster, begun at the same address, answers what the first one was asked (Tune asks how large it is). No setting and no
handler of Python's can prevent it. So the driver looks at the two, and ends first; or another process takes its place,
at once, which goes on, where there is a command for that. One moment is left to Ray: while
`ray.init` joins what it has started, it lets no other thread run; no study has begun then.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import NoReturn

from cfsweep.errors import EXIT_INTERRUPTED, FULL, NO_FAULT_OF_OURS
from cfsweep.sweeping.ray_backend.ray_internals import GCS, dead_processes, kill_processes, lost_of_cluster
from cfsweep.sweeping.restarts import Restarts, SchedulerDiedError, become, told_pause_s
from cfsweep.visible import tell

LOOK_EVERY_S = 0.05  # the next call that touches the raylet's memory may be the end
LOOK_AT_A_CLUSTER_EVERY_S = 1.0
COLOUR = re.compile("\x1b\\[[0-9;]*m")  # of a terminal
NO_ANSWER = "{} of the cluster does not answer"
SILENT_S = 10.0  # of a cluster's GCS, which may be started again; then it is taken for gone
# A SIGTERM may have been meant for all of them (`timeout`, a batch system): where Python waits for Ray, it sees it only
# within a second. Whatever else ends one of them is no wish of the user's.
GRACE_S = 2.0


@dataclass(frozen=True)
class Session:
    """Ray, from its start to its end: the user has set `interrupt`; the study has `begun`; a task was trained
    (`progressed`). `again` gives the command of a process that goes on, after the `restarts` before this session."""

    interrupt: threading.Event
    again: Callable[[], list[str] | None] | None = None
    restarts: Restarts = field(default_factory=Restarts)
    begun: threading.Event = field(default_factory=threading.Event)
    progressed: threading.Event = field(default_factory=threading.Event)


def died(error: Exception, progressed: bool = False) -> SchedulerDiedError:
    """What is told where Ray itself has failed, not the code of a pack."""
    return SchedulerDiedError(
        f"Ray has failed, or one of its processes was killed ({short(error)})",
        "`cfsweep resume` goes on, as does `cfsweep confirm`; see that there is memory for it, or sweep with "
        "`--workers 0`, which does without Ray.",
        progressed,
    )


def met_by_the_broker(error: Exception) -> OSError | None:
    """What the broker met on the disk, if that is what an error of Ray's tells: Ray is well then."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, OSError) and cause.errno in NO_FAULT_OF_OURS else None


@contextmanager
def full_disk_named(folder: str) -> Iterator[None]:
    """Within it, a full disk that is met by a write which says no file is told of this folder: Ray Tune writes what it
    knows of its trials there, by a library that names none; what is ours names its own."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno not in FULL:
            raise
        raise OSError(error.errno, os.strerror(error.errno), folder) from error


def short(error: Exception) -> str:
    """As much of an error as fits into a line; of one that tells its traceback, what was raised."""
    lines = COLOUR.sub("", str(error)).splitlines()
    while lines and lines[0].startswith("Traceback "):  # then what was raised is the next line that is not indented
        lines = [*itertools.dropwhile(lambda line: not line or line[0].isspace(), lines[1:])]
    return " ".join(" ".join(lines).split())[:200]


@contextmanager
def ends_with_ray(session: Session, a_cluster: bool = False) -> Iterator[None]:
    """Within it, and when it is left, this process ends by one line if one of Ray's that it has started has died: with
    exit code 2, or 130 where the user has interrupted it; or another process takes its place. Of a cluster it may look
    at the GCS and at the raylet of this machine alone."""
    over = threading.Event()

    def look() -> None:
        silent_s = 0.0
        while not over.wait(LOOK_AT_A_CLUSTER_EVERY_S if a_cluster else LOOK_EVERY_S):
            codes = dead_processes().values()
            killed = any(code < 0 and code != -signal.SIGTERM for code in codes)
            if codes and (killed or not over.wait(GRACE_S)):
                _end(session, _dead())
            if a_cluster:
                lost = lost_of_cluster()
                silent_s = silent_s + LOOK_AT_A_CLUSTER_EVERY_S if lost == GCS else 0.0
                if lost and (lost != GCS or silent_s >= SILENT_S):
                    _end(session, NO_ANSWER.format(lost))

    looking = threading.Thread(target=look, name="ends-with-ray", daemon=True)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join()
        # To shut down what is left of Ray would wait for it, or be ended by it.
        if dead_processes():
            _end(session, _dead())
        lost = lost_of_cluster() if a_cluster else ""
        if lost and (lost != GCS or session.again is not None):  # a GCS may be there again, as long as this process is
            _end(session, NO_ANSWER.format(lost))


def _dead() -> str:
    return ", ".join(f"{name}: exit code {code}" for name, code in dead_processes().items())


def _end(session: Session, dead: str) -> NoReturn:
    """Ends this process at once, or has another one take its place: all that is asked of Ray now may hang. It loses no
    more than SIGKILL does."""
    for_panel = sys.__stdout__  # the live panel has taken its place, and that of `sys.stderr`
    if for_panel is not None and for_panel.isatty():
        print("\x1b[?25h", file=for_panel, flush=True)  # below the panel, the cursor that it has hidden
    error = died(ChildProcessError(dead), session.progressed.is_set())
    line, code = str(error), error.exit_code
    sys.stderr = sys.__stderr__
    with suppress(Exception, KeyboardInterrupt):  # raised here, nobody would hear of it, and Ray would end it its way
        begun = session.begun.is_set() or session.restarts.n  # in the process whose place this one took
        if session.again is not None and begun and not session.interrupt.is_set():
            command = session.again()
            if command and (pause_s := told_pause_s(session.restarts, error)) is not None:
                kill_processes()
                become(command, session.restarts, pause_s)
    if session.interrupt.is_set():
        line, code = "interrupted; `cfsweep resume` goes on, as does `cfsweep confirm`", EXIT_INTERRUPTED
    tell(line, sys.__stderr__)
    os._exit(code)
