"""How often intervals hold the truth: `python -m benchmarks.coverage` simulates studies whose true means are known, and
with `--study DIR` draws a few seeds of a real study with many. `--write` puts the tables into docs/uncertainty.md."""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from analysis.uncertainty import LEVEL
from benchmarks.coverage_cells import DRAWS, NOTHING, Cell, Result, measure_all, real
from benchmarks.coverage_tables import (
    Column,
    Results,
    Text,
    calibration,
    coverage,
    kind,
    percent,
    points,
    table,
    tenths,
    together,
)
from benchmarks.made_up_studies import NOISES, POPULATIONS
from benchmarks.page import measured_on, put_section
from cfsweep.errors import CfsweepError

PAGE = Path(__file__).parent.parent / "docs" / "uncertainty.md"
SEEDS = (2, 3, 5, 10)
STUDIES = 400
OF_FRONTS = list(POPULATIONS)[:6]
UNDER_NOISE = ("cloud under a curve", "good, with a bad tail")
GATES = (
    ("equal", "plain"),
    ("equal", "heavy tails (t5)"),
    ("60 % equal, 40 % worse", "plain"),
    ("60 % equal, 40 % worse", "worse trials noisier"),
    ("one better by 1 sd", "plain"),
    ("one better by 2 sds", "plain"),
    ("one better by 3 sds", "plain"),
)
# With no seeds yet: each is measured with all of SEEDS.
FRONTS = [Cell(0, name, n_trials=n, others=n == 24) for n in (8, 24, 96) for name in OF_FRONTS]
NOISY = [
    Cell(0, population, noise, 24, others=noise == "similar trials alike")
    for noise in NOISES
    if noise != "plain"
    for population in UNDER_NOISE
]
GATED = [Cell(0, population, noise, 40, fronts=False) for population, noise in GATES]


class Shown(NamedTuple):
    """What a table shows of each row: its columns, and how each is written."""

    columns: list[Column]
    texts: list[Text]


AIMED: list[Text] = [coverage, percent, percent]
PLAIN: list[Text] = [tenths, percent, percent]
VOLUME = Shown([("model", "volume model"), ("percentile", "volume percentile"), ("basic", "volume basic")], AIMED)
REJECTED = Shown(
    [("model", "volume model"), ("posterior", "volume posterior"), ("independent", "volume independent")], PLAIN
)
NAMED = Shown([("Student", "named student"), ("percentile", "named percentile"), ("basic", "named basic")], AIMED)
CHOSEN = Shown(
    [("corrected", "chosen corrected"), ("Student", "chosen student"), ("percentile", "chosen percentile")], AIMED
)
PASSES = Shown(
    [("corrected", "passes corrected"), ("Student", "passes student"), ("percentile", "passes percentile")], PLAIN
)
BIAS = Shown(
    [
        ("best, raw", "best raw"),
        ("best, corrected", "best corrected"),
        ("volume, raw", "volume bias raw"),
        ("volume, corrected", "volume bias corrected"),
    ],
    [points] * 4,
)
TOGETHER = {
    "hypervolume": ("volume model", "volume percentile"),
    "two trials named beforehand": ("named student", "named percentile"),
    "the best trial and the default": ("chosen corrected", "chosen percentile"),
}
UNSEEN = "all seeds the same split"  # the noise with an error that no seed shows


def simulated(results: Results, seeds: Sequence[int], chosen: Sequence[list[Cell]]) -> str:
    """The section of the simulated studies; `chosen` are the rows for fronts, noise and gates."""
    fronts, noisy, gated = chosen
    tried = [cell for cell in fronts if cell.others]
    rejected = [cell for cell in (*fronts, *noisy) if cell.others]
    # What a difference named beforehand is of does not matter to it, but the noise does.
    by_noise = [cell for cell in (*tried, *noisy) if cell.population == UNDER_NOISE[0]]
    everywhere = [*fronts, *noisy]
    seen = [cell for cell in everywhere if cell.noise != UNSEEN]
    parts = [
        f"### All studies together, but those with {UNSEEN}, in %",
        together(results, seen, TOGETHER, seeds),
        *tables(
            results,
            seeds,
            ("### Hypervolume: how often the interval holds the true one, in %", VOLUME, everywhere),
            ("### Difference of two trials named beforehand, in %", NAMED, by_noise),
            ("### Difference of the best trial to the default, in %", CHOSEN, everywhere),
            ("### What is shown too high, in points", BIAS, everywhere),
        ),
        "### Front share by the model: shown → truly on the front",
        calibration(results, [*tried, *noisy], seeds, ["model"]),
        "### Front share by the bootstrap: shown → truly on the front",
        calibration(results, tried, seeds, ["bootstrap"]),
        *tables(
            results,
            seeds,
            ("### Gates: how often `--beats default` passes, in %", PASSES, gated),
            ("### The hypervolume by what was rejected, in %", REJECTED, rejected),
        ),
    ]
    return "\n\n".join(parts)


def tables(results: Results, seeds: Sequence[int], *wanted: tuple[str, Shown, Sequence[Cell]]) -> list[str]:
    """A title and a table for each of `wanted`: the title, what is shown, and of which rows."""
    parts = ((title, table(results, rows, shown.columns, seeds, shown.texts)) for title, shown, rows in wanted)
    return [text for part in parts for text in part]


def of_real(results: Results, seeds: Sequence[int], studies: Sequence[Cell]) -> str:
    """The section of the real studies."""
    found = [real(Path(cell.study)) for cell in studies]
    shapes = [(kind(cell), *study.values.shape[:2]) for cell, study in zip(studies, found, strict=True)]
    sizes = [f"{name} has {n_trials} trials and {n_seeds} seeds" for name, n_trials, n_seeds in shapes]
    parts = [
        f"{'; '.join(sizes)}.",
        *tables(
            results,
            seeds,
            ("Hypervolume, in %:", VOLUME, studies),
            ("The same by what was rejected, in %:", REJECTED, studies),
            ("Difference of two trials named beforehand, in %:", NAMED, studies),
            ("Difference of the best trial to the default, in %:", CHOSEN, studies),
            ("What is shown too high, in points:", BIAS, studies),
        ),
        "Front share, shown → truly on the front:",
        calibration(results, studies, seeds, ["model", "bootstrap"]),
    ]
    return "\n\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0 done, 2 bad input, 130 interrupted (and resumable)."""
    given = asked(arguments)
    seeds: Sequence[int] = SEEDS
    rows = [FRONTS, NOISY, GATED]
    with tempfile.TemporaryDirectory() as scratch:
        if given.quick:
            given.out, given.studies, seeds = Path(scratch), 4, SEEDS[:2]
            rows = [[replace(cell, n_trials=8, others=cell.fronts) for cell in part[:2]] for part in rows]
        studies = [Cell(0, study=str(folder), others=True) for folder in given.study]
        try:
            for folder in given.study:
                real(folder)
            cells = [replace(cell, n_seeds=n) for part in (*rows, studies) for cell in part for n in seeds]
            results = measured(cells, given)
            texts = {"simulated": simulated(results, seeds, rows)}
            if studies:
                texts["real"] = of_real(results, seeds, studies)
        except CfsweepError as error:
            print(f"benchmarks.coverage: {error}", file=sys.stderr)
            return error.exit_code
        except KeyboardInterrupt:
            return 130
    for name, text in texts.items():
        print(text)
        if given.write:
            put_section(PAGE, name, f"{text}\n\n{foot(given)}")
    return 0


def asked(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument("--study", type=Path, action="append", default=[], help="a study of many seeds; may come again")
    parser.add_argument("--studies", type=int, default=STUDIES, help="of a kind; of some half, of gates twice")
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread; 0 simulates in this one")
    parser.add_argument("--out", type=Path, default=Path("runs/coverage"), help="what is done is kept here")
    parser.add_argument("--quick", action="store_true", help="a few small studies of 2 and 3 seeds: for the tests")
    parser.add_argument("--write", action="store_true", help="into docs/uncertainty.md")
    return parser.parse_args(arguments)


def foot(given: argparse.Namespace) -> str:
    """How much was drawn, how well that tells a share, and with which command."""
    command = f"python -m benchmarks.coverage --studies {given.studies}"
    command += "".join(f" --study {folder.name}" for folder in given.study)
    n = given.studies
    errors = [f"± {100 * math.sqrt(LEVEL * (1 - LEVEL) / n):.1f}" for n in (n, n // 2, 2 * n)]
    return (
        f"{n} studies for each row of plain noise, so that 95 % is known to {errors[0]} (one standard error); {n // 2} "
        f"for the other noises and the real studies ({errors[1]}), {2 * n} for the gates ({errors[2]}). {DRAWS} draws "
        f"an interval. {measured_on(command)}"
    )


def measured(cells: Sequence[Cell], given: argparse.Namespace) -> dict[Cell, Result]:
    """All cells, with a line for each part as it is done."""
    console, results = Console(stderr=True), dict.fromkeys(cells, NOTHING)
    for n_studies in (given.studies, given.studies // 2, 2 * given.studies):
        now = [cell for cell in cells if _n_studies(cell, given.studies) == n_studies]
        for number, (cell, part) in enumerate(measure_all(now, n_studies, given.workers, given.out), 1):
            results[cell] += part
            console.print(f"part {number}: {kind(cell)}, {cell.n_seeds} seeds", highlight=False)
    return results


def _n_studies(cell: Cell, most: int) -> int:
    """As many as asked for of fronts under plain noise, of other noises and real studies half, of gates twice: they are
    cheap, and what is asked of them is a small share."""
    if not cell.fronts:
        return 2 * most
    return most if cell.population and cell.noise == "plain" else most // 2


if __name__ == "__main__":
    sys.exit(main())
