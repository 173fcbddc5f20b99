"""`python -m tests.faults --rounds 3`: the whole suite of faults, each round with a seed of its own, which is printed.

With `--write` the table of docs/reliability.md is made anew of what the rounds did, where all of them went well.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.page import read_records, write_faults, write_load

ROOT = Path(__file__).parents[2]


def main() -> int:
    asked = argparse.ArgumentParser(
        prog="python -m tests.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    asked.add_argument("--rounds", type=int, default=1)
    asked.add_argument(
        "--seed", type=int, default=time.time_ns() % 10**6, help="of the first round (default: by the clock)"
    )
    asked.add_argument("--only", help="the tests whose names have this, as pytest's -k")
    asked.add_argument("--write", action="store_true", help="the table of docs/reliability.md")
    asked.add_argument("--record", type=Path, help="add what was done to this file, one JSON object a line")
    asked.add_argument("--load", type=Path, help="what `python -m tests.faults.load --record` wrote: its section, too")
    given = asked.parse_args()
    if given.write and given.only:
        asked.error("--write needs the whole suite: leave --only out")
    with tempfile.TemporaryDirectory(prefix="cfsweep-faults-") as place:
        record = given.record.absolute() if given.record else Path(place) / "record"
        codes = [_round(given.seed + k, record, given.only) for k in range(given.rounds)]
        if given.write and not any(codes):
            write_faults(read_records(record))
    if given.load:
        write_load(given.load)
    return int(any(codes))  # also where a round was killed


def _round(seed: int, record: Path, only: str | None) -> int:
    environment = {**os.environ, "CFSWEEP_FAULTS_SEED": str(seed), "CFSWEEP_FAULTS_RECORD": str(record)}
    at_once = ("--numprocesses", "3", "--dist", "load")
    command = [sys.executable, "-m", "pytest", "tests/faults", *at_once, "--durations=5"]
    command += ["-k", only] if only else []
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
