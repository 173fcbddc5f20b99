"""`python -m tests.fuzz --n 10000 --seed 1`: damaged and hostile inputs, each given to the real command."""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> int:
    """Prints the seed, counts by kind, and each failing input reduced; 1 if there is one."""
    from tests.fuzz.kinds import KINDS

    asked = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    asked.add_argument("--n", type=int, default=10_000, help="how many cases")
    asked.add_argument("--seed", type=int, default=time.time_ns() % 10**6, help="(default: by the clock)")
    asked.add_argument("--only", type=int, help="the case of this number alone")
    asked.add_argument("--kinds", nargs="*", default=sorted(KINDS), choices=sorted(KINDS))
    asked.add_argument(
        "--named", nargs="?", const="", help="the cases that have names (with this in them), before the others"
    )
    asked.add_argument("--seconds", type=float, default=float("inf"), help="stop after so many")
    given = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        return _round(given, Path(place))


def _round(given: argparse.Namespace, place: Path) -> int:
    from tests.fuzz import kinds, named, templates
    from tests.fuzz.cases import Case
    from tests.fuzz.trial import Tried, loaded, reduced, tried

    loaded()
    gc.collect()
    gc.freeze()
    templates.build(place / "templates")
    print(f"seed {given.seed}", flush=True)
    counts: Counter[str] = Counter()
    codes: Counter[int] = Counter()
    faults: dict[tuple[str, str], tuple[str, Tried]] = {}
    began = time.monotonic()

    def try_one(name: str, case: Case) -> None:
        found = tried(case, place / "templates", place / "below" / "case")
        counts[case.kind] += 1
        codes[found.ended.code] += 1
        if found.fault is None:
            if given.only is not None or (given.named is not None and not name.isdigit()):
                print(f"{name}: {found.ended.code} {found.ended.err.strip()[:300]}", flush=True)
            return
        key = (case.kind if name.isdigit() else name, found.fault)
        if key not in faults:
            found = reduced(found, place / "templates", place / "below" / "case")
            faults[key] = (name, found)
            print(f"FAULT {name}: {found}", flush=True)

    for name, case in named.CASES.items() if given.named is not None else ():
        if given.named in name:
            try_one(name, case)
    for number in [given.only] if given.only is not None else range(given.n):
        if time.monotonic() - began > given.seconds:
            print(f"stopped after {number} cases")
            break
        try_one(f"{number}", kinds.case_of(given.seed, number, place / "templates", given.kinds))
    print(", ".join(f"{kind} {n}" for kind, n in sorted(counts.items())))
    print("exit codes: " + ", ".join(f"{code}: {n}" for code, n in sorted(codes.items())))
    print(f"{counts.total()} cases, seed {given.seed}, {time.monotonic() - began:.0f} s: {len(faults)} faults")
    return int(bool(faults))


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # what all the libraries would do at the end is of no use here
