"""How long it takes to carry a study to a store, by its number of trials: `python -m benchmarks.carrying s3://bucket/x`.

The study is made up: eight trials in a commit, with parts, lines of a journal and of a ledger of the usual size.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cfsweep.results.lease import Lease
from cfsweep.results.mirror import Mirror
from cfsweep.results.store import Store

TRIALS = (100, 1000, 10_000)
A_COMMIT, PART_BYTES = 8, 15_000  # trials; of a part
TABLES = ("runs", "accuracy", "buffers")
OPERATION = json.dumps({"op_code": 5, "worker_id": "x" * 60, "trial_id": 1, "distribution": "x" * 180}) + "\n"
OPERATIONS = 6  # of a trial, in the journal


def commit(folder: Path, number: int) -> None:
    """What a driver writes for some trials."""
    chance, names = random.Random(number), [f"{table}/pack{number:06d}.parquet" for table in TABLES]
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(chance.randbytes(PART_BYTES))
    for file, line in (
        ("commits.jsonl", json.dumps({"parts": dict.fromkeys(names, "a" * 64), "line": "a" * 64}) + "\n"),
        ("journal.jsonl", OPERATION * OPERATIONS * A_COMMIT),
    ):
        with (folder / file).open("a") as opened:
            opened.write(line)


def seconds(act: Callable[[], object]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def measure(address: str, trials: int, scratch: Path) -> None:
    store = Store(f"{address}/{trials}")

    def opened(name: str) -> Mirror:
        mirror = Mirror(store, scratch / f"{name}{trials}", Lease(store), print)
        mirror.lease.take()
        return mirror

    mirror = opened("here")
    mirror.folder.mkdir(parents=True)
    mirror.carried.open()
    (mirror.folder / "study.yaml").write_text("study_id: a\n")
    for number in range(trials // A_COMMIT):
        commit(mirror.folder, number)
    whole, later = seconds(mirror.carry), []
    for number in range(5):
        commit(mirror.folder, 10**5 + number)
        later.append(seconds(mirror.carry))
    looking = seconds(mirror._taken_in)
    mirror.carried.close()
    other = opened("there")
    fetched = seconds(other.begin)
    other.end(60)
    other.carried.close()
    mega = (mirror.folder / "journal.jsonl").stat().st_size / 1e6
    print(
        f"{trials} trials (journal {mega:.1f} MB): all {whole:.1f} s, one more commit {sorted(later)[2]:.2f} s, of "
        f"which {looking:.3f} s to see what is new; fetched in {fetched:.1f} s",
        flush=True,
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for trials in TRIALS:
            measure(sys.argv[1].rstrip("/"), trials, Path(scratch))


if __name__ == "__main__":
    main()
