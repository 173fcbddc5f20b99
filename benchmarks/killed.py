"""From `kill -9` to the first training step of the `resume` that follows: how long?

`python -m benchmarks.killed` runs the real command on a sweep of two workers, kills its driver at a random moment (the
seed is printed), calls `resume` at once, and waits for the first step that a worker takes. It prints each time, the
median and the longest; with `--write` it puts them into docs/reliability.md. It is a time of the clock: look at it on a
machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from benchmarks import timeline
from benchmarks.page import RELIABILITY, measured_on, put_section

HERE = Path(__file__).parent.parent
STEP, BEGUN = "TaskLoop.run begins", "process begins"
STUDY = (
    *("search_spaces/smoke.yaml", "--set", "epochs=40", "--set", "pack_runs=2", "--set", "stop_trials=false"),
    *("--trials", "200"),
)
LONGEST_S = 300.0
T = TypeVar("T")


def first_step(stamps: Sequence[Mapping[str, Any]], killed_at: float) -> float | None:
    """When the first task begins that is trained by a process which was not there when the driver was killed; None: not
    yet. A worker of that driver may take a step after it, before it ends, too."""
    young = {stamp["pid"] for stamp in stamps if stamp["what"] == BEGUN and stamp["at"] > killed_at}
    return min((stamp["at"] for stamp in stamps if stamp["what"] == STEP and stamp["pid"] in young), default=None)


def stamped(scratch: Path) -> list[dict[str, Any]]:
    """What the processes of a sweep have said so far; a line on its way is none."""
    path = scratch / "stamps"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def once(after_s: float) -> float:
    """Seconds from the SIGKILL of a driver, so long after the study began, to the first step that follows.

    Raises:
        RuntimeError: no step came.
    """
    with tempfile.TemporaryDirectory(prefix="cfsweep-killed-", ignore_cleanup_errors=True) as folder:
        scratch, out = Path(folder), Path(folder) / "study"
        shutil.copy(timeline.__file__, scratch / "sitecustomize.py")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([folder, str(HERE)])}

        def start(*command: str) -> subprocess.Popen[bytes]:
            line, nowhere = [sys.executable, "-m", "cfsweep.cli", *command, "--workers", "2"], subprocess.DEVNULL
            return subprocess.Popen(line, cwd=HERE, env=environment, stdout=nowhere, stderr=nowhere)

        first = start("run", *STUDY, "--out", str(out))
        wait_for(lambda: True if (out / "study.yaml").exists() else None)
        time.sleep(after_s)
        first.kill()
        killed_at = time.time()
        first.wait()
        second = start("resume", str(out))
        try:
            return wait_for(lambda: first_step(stamped(scratch), killed_at)) - killed_at
        finally:
            second.kill()
            second.wait()


def wait_for(looked: Callable[[], T | None]) -> T:
    """What is there once something is.

    Raises:
        RuntimeError: it does not for too long.
    """
    deadline = time.monotonic() + LONGEST_S
    while (found := looked()) is None:
        if time.monotonic() > deadline:
            raise RuntimeError(f"nothing has happened for {LONGEST_S:g} s")
        time.sleep(0.05)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--write", action="store_true", help="the section of docs/reliability.md")
    given = parser.parse_args(arguments)
    seed = random.randrange(2**32) if given.seed is None else given.seed
    draws = random.Random(seed)
    print(f"seed {seed}")
    found = []
    for _ in range(given.repeats):
        after_s = draws.uniform(0.0, 20.0)
        found.append(once(after_s))
        print(f"killed {after_s:4.1f} s after the study began: first step after {found[-1]:.1f} s", flush=True)
    text = f"median {statistics.median(found):.1f} s, longest {max(found):.1f} s, of {len(found)}"
    print(text)
    if given.write:
        command = measured_on(f"python -m benchmarks.killed --repeats {given.repeats} --seed {seed} --write")
        put_section(RELIABILITY, "killed", f"The driver of a sweep of two workers: {text}.\n\n{command}")


if __name__ == "__main__":
    main()
