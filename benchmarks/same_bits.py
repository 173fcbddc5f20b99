"""Does a change of the code change a number? `python -m benchmarks.same_bits --against REV` trains a fixed set of packs
with the package as it is here and as it was at REV, and compares records, weights and states of the ingredients.

The set: every ingredient alone, in all scenarios, with three optimizers, on networks of all kinds that are trained in
different ways, every pair, some mixtures, other precisions, dropped and restored runs. `--every N` takes each N-th
pack. Exit code 1 if a single bit differs, with the packs and what of them differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

PACKS = Path(__file__).with_name("same_bits_packs.py")
ROOT = Path(__file__).parent.parent
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MKL_CBWR": "AUTO,STRICT"}  # as a sweep's workers

Findings = dict[str, dict[str, str]]
"""By pack, and by what it is of, the SHA-256."""


@contextmanager
def worktree(revision: str) -> Iterator[Path]:
    """A checkout of `revision` in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="cfsweep-same-bits-") as scratch:
        folder = Path(scratch) / "checkout"
        subprocess.run(["git", "-C", str(ROOT), "worktree", "add", "--detach", "-q", str(folder), revision], check=True)
        try:
            yield folder
        finally:
            subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(folder)], check=True)


def findings(checkout: Path, every: int = 1) -> Findings:
    """What each `every`-th pack of the set comes to with the package in `checkout`.

    Raises:
        SystemExit: the packs cannot be trained.
    """
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-P", str(PACKS), str(every)]
    done = subprocess.run(command, cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"the packs could not be trained in {checkout} (exit code {done.returncode})")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {line["name"]: line["found"] for line in lines}


def findings_of_all(checkouts: Sequence[Path], every: int = 1) -> list[Findings]:
    """Those of several checkouts, trained at the same time."""
    with ThreadPoolExecutor() as threads:
        return list(threads.map(lambda checkout: findings(checkout, every), checkouts))


def differences(here: Mapping[str, Mapping[str, str]], there: Mapping[str, Mapping[str, str]]) -> list[str]:
    """One line for each pack that is not the same on both sides.

    >>> differences({"a": {"weights": "1", "steps": "2"}, "b": {}}, {"a": {"weights": "0", "steps": "2"}})
    ['a: weights', 'b: only here']
    """
    found = []
    for name in dict.fromkeys((*here, *there)):
        if name not in there or name not in here:
            found.append(f"{name}: only {'here' if name in here else 'there'}")
            continue
        parts = dict.fromkeys((*here[name], *there[name]))
        other = [part for part in parts if here[name].get(part) != there[name].get(part)]
        if other:
            found.append(f"{name}: {', '.join(other)}")
    return found


def main(argv: list[str] | None = None) -> None:
    """Trains on both revisions at once, and compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", required=True, metavar="REV", help="the revision to compare with")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="take each N-th pack alone")
    options = parser.parse_args(argv)
    with worktree(options.against) as there:
        here, before = findings_of_all((ROOT, there), options.every)
    found = differences(here, before)
    values = sum(len(of) for of in here.values())
    print(f"{len(here)} packs, {values} values: {len(found)} packs differ from {options.against}")
    for line in found:
        print(f"  {line}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
