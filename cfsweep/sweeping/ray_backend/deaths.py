"""What a sweep says and does where Ray itself has died, not the code of a pack.

Often Ray raises an error, and `died` is what is told. But where the raylet or the GCS of this machine was killed (by
the kernel, for memory), Ray's library ends the process that drives the sweep by itself, from a thread of its own:
`_Exit(1)` and a line of C++, 15 s after the raylet's death and 60 s after the GCS's (Ray 2.60). No setting and no
handler of Python's can prevent it. So the driver looks at the two, and ends first. One moment is left to Ray: while
`ray.init` joins what it has started, it lets no other thread run; no study has begun then.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from cfsweep.errors import EXIT_INTERRUPTED, InputError
from cfsweep.sweeping.ray_backend.ray_internals import dead_processes
from cfsweep.visible import visible

LOOK_EVERY_S = 0.05  # the next call that touches the raylet's memory may be the end
# A SIGTERM may have been meant for all of them (`timeout`, a batch system): where Python waits for Ray, it sees it only
# within a second. Whatever else ends one of them is no wish of the user's.
GRACE_S = 2.0


def died(error: Exception) -> InputError:
    """What is told where Ray itself has failed, not the code of a pack."""
    return InputError(
        f"Ray has failed, or one of its processes was killed ({short(error)}). `cfsweep resume` goes on; see that "
        "there is memory for it, or sweep with `--workers 0`, which does without Ray."
    )


def short(error: Exception) -> str:
    """As much of an error as fits into a line."""
    return " ".join(str(error).split())[:200]


@contextmanager
def ends_with_ray(interrupt: threading.Event) -> Iterator[None]:
    """Within it, and when it is left, this process ends by one line if one of Ray's that it has started has died: with
    exit code 2, or 130 where the user has set `interrupt`. A cluster's processes are its own business."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_EVERY_S):
            codes = dead_processes().values()
            killed = any(code < 0 and code != -signal.SIGTERM for code in codes)
            if codes and (killed or not over.wait(GRACE_S)):
                _end(interrupt)

    looking = threading.Thread(target=look, name="ends-with-ray", daemon=True)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join()
        if dead_processes():  # to shut down what is left of Ray would wait for it, or be ended by it
            _end(interrupt)


def _end(interrupt: threading.Event) -> NoReturn:
    """Ends this process at once: all that is asked of Ray now may hang. It loses no more than SIGKILL does."""
    if interrupt.is_set():
        line, code = "interrupted; `cfsweep resume` goes on", EXIT_INTERRUPTED
    else:
        dead = ", ".join(f"{name}: exit code {code}" for name, code in dead_processes().items())
        error = died(ChildProcessError(dead))
        line, code = str(error), error.exit_code
    for_panel, for_errors = sys.__stdout__, sys.__stderr__  # the live panel has taken the place of both
    if for_panel is not None and for_panel.isatty():
        print("\x1b[?25h", file=for_panel, flush=True)  # below the panel, the cursor that it has hidden
    print(f"cfsweep: {visible(line)}", file=for_errors, flush=True)
    os._exit(code)
