"""What a sweep costs its driver, with all of it real but the training: Optuna, the journal, Parquet, stopping.

`python -m benchmarks.driver` sweeps the space `mixed` with a trainer that answers at once with made-up accuracies, for
10, 100 and 1,000 workers and 100 trials for each of them, prints a table, and takes up the finished study once more.
Every sweep has a process of its own. Times are of the driver's calls alone. How long a worker waits for its next pack
is a simulation: a task takes `TASK_S` on average, and the driver serves one call after the other, each for as long as
it did take. `--objective pareto --trials 100000` measures the one that the default leaves out, `--quick` is tiny.
"""

from __future__ import annotations

import argparse
import heapq
import multiprocessing
import operator
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.made_up import COUNTS, MadeUpPack
from benchmarks.page import PERFORMANCE, markdown_table, measured_on, put_section
from cfsweep.sweeping.driver import Driver
from cfsweep.sweeping.folder import Folder
from cfsweep.sweeping.parsing import make_config
from cfsweep.sweeping.search.asker import open_asker
from cfsweep.sweeping.space import check_space
from cfsweep.training.targets import target_of

SPACE = Path(__file__).parent.parent / "search_spaces" / "mixed.yaml"
TRIALS = (1_000, 10_000, 100_000)
TRIALS_PER_WORKER = 100
PACK_RUNS = 8
TASK_S = 20.0
PARTS = ("ask", "journal", "Parquet", "stopping", "display")
Objective = Literal["mixed", "pareto"]


@dataclass(frozen=True)
class Case:
    """One sweep: `ahead` is False where packs are asked for only when a worker waits."""

    objective: Objective
    trials: int
    ahead: bool = True

    @property
    def workers(self) -> int:
        return max(1, self.trials // TRIALS_PER_WORKER)


@dataclass
class Cost:
    """What it cost: seconds of the driver's calls, by part, and in the last tenth of the trials."""

    case: Case
    total_s: float = 0.0
    last_tenth_s: float = 0.0
    parts_s: Counter[str] = field(default_factory=Counter)
    waits_s: list[float] = field(default_factory=list)
    peak_bytes: int = 0
    journal_bytes: int = 0
    parquet_bytes: int = 0
    n_files: int = 0
    n_stopped: int = 0
    resume_s: float = 0.0

    def ms(self, seconds: float) -> float:
        return 1e3 * seconds / self.case.trials


def new_driver(root: Path, case: Case) -> Driver:
    """A driver over `root`, which may hold a study already."""
    config = make_config(SPACE, {"objective.name": case.objective, "trials": case.trials}, ["references=false"])
    hypers, scores = check_space(config.space, "mixed"), target_of("classification").scores[:1]
    folder = Folder(root)
    folder.checkpoints.mkdir(parents=True, exist_ok=True)
    asker = open_asker(folder.journal, config, hypers)
    return Driver(folder, config, hypers, asker, scores, COUNTS, case.workers, PACK_RUNS)


@contextmanager
def stopwatch(cost: Cost, name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    cost.parts_s[name] += time.perf_counter() - started


def watched(cost: Cost, name: str, act: Callable[..., Any]) -> Callable[..., Any]:
    """`act`, its seconds counted under `name`."""

    def timed(*args: Any, **options: Any) -> Any:
        with stopwatch(cost, name):
            return act(*args, **options)

    return timed


def watch(driver: Driver, cost: Cost) -> None:
    """Counts the seconds of the driver's parts."""
    for owner, method, part in (
        (driver.book, "ask", "ask"),
        (driver.book, "report_end", "journal"),
        (driver.asker, "flush", "journal"),
        (driver.asker, "release", "journal"),
        (driver.rows, "write", "Parquet"),
        (driver.rows, "add", "Parquet"),
        (driver.stopper, "loses", "stopping"),
        (driver.book, "summary", "display"),
    ):
        setattr(owner, method, watched(cost, part, getattr(owner, method)))


class Simulation:
    """Workers that are never late, and one driver: `now` is when it has served all that came so far."""

    def __init__(self, driver: Driver, cost: Cost) -> None:
        self.driver, self.cost = driver, cost
        self.rng = np.random.default_rng(0)
        self.now = 0.0
        self.active: dict[str, MadeUpPack] = {}
        self.events: list[tuple[float, str]] = []  # when a pack has trained its next task
        self.waiting = [0.0] * cost.case.workers  # since when each idle worker waits
        driver.drop = lambda pack_id, keys: self.active[pack_id].drop(keys)

    def serve(self, act: Callable[..., Any], *args: Any) -> Any:
        started = time.perf_counter()
        answer = act(*args)
        took = time.perf_counter() - started
        self.now += took
        self.cost.total_s += took
        if sum(self.driver.asker.n_ended.values()) > 0.9 * self.cost.case.trials:
            self.cost.last_tenth_s += took
        return answer

    def run(self) -> None:
        """Until the driver has finished."""
        while True:
            self.hand_out()
            self.serve(self.driver.tick)
            if not self.events:
                break
            at, pack_id = heapq.heappop(self.events)
            self.now = max(self.now, at)
            report = self.active[pack_id].train_next_task()
            self.serve(self.driver.take_report, pack_id, report)
            self.serve(self.driver.book.summary)
            if report.done:
                del self.active[pack_id]
                self.waiting.append(at)
            else:
                self.train(pack_id)
        assert self.driver.complete

    def hand_out(self) -> None:
        while self.waiting and (job := self.serve(self.driver.next_pack)):
            since = self.waiting.pop(0)
            if since > 0:  # all workers begin at once, and nobody can have asked ahead of that
                self.cost.waits_s.append(self.now - since)
            self.active[job.pack_id] = MadeUpPack(self.driver.config.space, job.spec)
            self.train(job.pack_id)

    def train(self, pack_id: str) -> None:
        heapq.heappush(self.events, (self.now + self.rng.uniform(0.5, 1.5) * TASK_S, pack_id))


def measure(case: Case) -> Cost:
    """Sweeps in a new folder and takes the study up again."""
    cost = Cost(case)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "study"
        driver = new_driver(root, case)
        if not case.ahead:
            driver.packs.last_task = _Nobody()
        watch(driver, cost)
        Simulation(driver, cost).run()
        summary = driver.book.summary()
        assert summary.done + summary.stopped == case.trials
        cost.n_stopped = summary.stopped
        cost.peak_bytes = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        cost.journal_bytes = driver.folder.journal.stat().st_size
        parts = list(root.glob("*/*.parquet"))
        cost.parquet_bytes, cost.n_files = sum(part.stat().st_size for part in parts), len(parts)
        del driver
        started = time.perf_counter()
        again = new_driver(root, case)
        cost.resume_s = time.perf_counter() - started
        assert again.complete
        # The rest of a summary is about the session.
        of_study = operator.attrgetter("trials", "done", "stopped", "failed", "best", "front")
        assert of_study(again.book.summary()) == of_study(summary)
    return cost


class _Nobody(set[str]):
    """The packs in their last task, for a driver that is to know of none."""

    def add(self, element: str) -> None: ...


HEADINGS = (
    ["objective", "trials", "workers", "stopped", "ms per trial", *PARTS, "in the last tenth"]
    + ["peak MiB", "journal, bytes per trial", "Parquet, bytes per trial", "parts", "taken up again, s"]
    + ["wait, median ms", "wait, 99 % ms", "longest wait, ms"]
)


def row(cost: Cost) -> list[str]:
    """The cells under `HEADINGS`."""
    case, waits = cost.case, 1e3 * np.asarray(cost.waits_s or [0.0])
    return [
        case.objective + ("" if case.ahead else ", not ahead"),
        f"{case.trials:,}",
        f"{case.workers:,}",
        f"{cost.n_stopped / case.trials:.0%}",
        f"{cost.ms(cost.total_s):.2f}",
        *(f"{cost.ms(cost.parts_s[part]):.2f}" for part in PARTS),
        f"{10 * cost.ms(cost.last_tenth_s):.2f}",
        f"{cost.peak_bytes / 2**20:,.0f}",
        f"{cost.journal_bytes / case.trials:,.0f}",
        f"{cost.parquet_bytes / case.trials:,.0f}",
        f"{cost.n_files:,}",
        f"{cost.resume_s:.1f}",
        f"{np.median(waits):.0f}",
        f"{np.quantile(waits, 0.99):.0f}",
        f"{np.max(waits):.0f}",
    ]


def ratios(costs: Sequence[Cost]) -> str:
    """One line: the cost per trial of the largest sweep over that of the smallest, by objective.

    >>> ratios([Cost(Case("mixed", 100), total_s=1.0), Cost(Case("mixed", 1000), total_s=15.0)])
    'Cost per trial, over that of the smallest sweep: mixed 1.50 at 1,000 trials.'
    """
    found = []
    for objective in dict.fromkeys(cost.case.objective for cost in costs):
        mine = sorted((c for c in costs if c.case.objective == objective and c.case.ahead), key=lambda c: c.case.trials)
        per_trial = [cost.ms(cost.total_s) for cost in mine]
        found.append(f"{objective} {per_trial[-1] / per_trial[0]:.2f} at {mine[-1].case.trials:,} trials")
    return "Cost per trial, over that of the smallest sweep: " + "; ".join(found) + "."


def cases(objective: Objective | None, trials: int | None, quick: bool) -> list[Case]:
    """What to measure; by default all sizes but the largest of `pareto`.

    >>> [(case.objective, case.trials, case.ahead) for case in cases(None, None, quick=False)]  # doctest: +ELLIPSIS
    [('mixed', 1000, True), ('mixed', 10000, True), ('mixed', 100000, True), ('pareto', 1000, True), ('pareto', ...]
    >>> [case.trials for case in cases("pareto", 100_000, quick=False) if case.ahead]
    [100000]
    """
    sizes = [trials] if trials else [40, 80] if quick else list(TRIALS)
    chosen: list[Objective] = [objective] if objective else ["mixed", "pareto"]
    found = [Case(o, n) for o in chosen for n in sizes if trials or o == "mixed" or n < TRIALS[-1]]
    middle = sizes[len(sizes) // 2]
    return [*found, Case(chosen[0], middle, ahead=False)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.driver", description=__doc__)
    parser.add_argument("--objective", choices=["mixed", "pareto"], help="one alone")
    parser.add_argument("--trials", type=int, help="one size alone")
    parser.add_argument("--quick", action="store_true", help="40 and 80 trials")
    parser.add_argument("--write", action="store_true", help="puts the table into docs/performance.md")
    given = parser.parse_args(arguments)
    spawn = multiprocessing.get_context("spawn")
    wanted = cases(given.objective, given.trials, given.quick)
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
        costs = list(pool.map(measure, wanted))
    rows = [row(cost) for cost in costs]
    table = Table(*HEADINGS, title="a sweep's driver")
    for cells in rows:
        table.add_row(*cells)
    console = Console(width=220)
    console.print(table)
    console.print(ratios(costs))
    if given.write:
        text = (
            f"Trials in packs of {PACK_RUNS}, one seed, trials that lose are stopped. `ms per trial` is all of the "
            "driver's work; `journal` is telling Optuna and writing its file. A worker's wait for its next pack is "
            f"simulated with tasks of {TASK_S:g} s; it includes the calls of others that the driver serves first.\n\n"
        )
        text += f"{markdown_table(HEADINGS, rows)}\n\n{ratios(costs)}\n\n{measured_on('python -m benchmarks.driver')}"
        put_section(PERFORMANCE, "driver", text)


if __name__ == "__main__":
    main()
