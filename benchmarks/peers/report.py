"""The tables of the comparison, for the terminal and for the page."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.page import markdown_table
from benchmarks.peers.job import Job
from benchmarks.peers.reached import MEASURES
from benchmarks.peers.summary import SURE, Agreement, Measured, ratios, spread

GIB = 2**30
PEERS = {
    "a": "Ray Tune + OptunaSearch, textbook PyTorch",
    "b": "Ray Tune + OptunaSearch, Avalanche",
    "c": "Optuna in two processes, textbook PyTorch",
    "d": "cfsweep, no shared first task, no trial stopped",
    "e": "cfsweep as shipped",
}
RATE_HEADINGS = ("sweep", "trials/hour", "× (a)", "× (b)", "× (c)", "trials run", "CPU s/trial", "peak memory, GiB")
TIME_HEADINGS = (
    *("sweep", "start, s", "end, s", "s/trial", "worker-s/trial", "training", "of it Fisher", "of it references"),
    *("the rest", "processors idle", "stopped"),
)
REACHED_HEADINGS = (
    "sweep",
    *(f"{what} {measure}" for measure in MEASURES for what in ("its best", "s to (a)'s", "of (a)'s own s to its")),
)
AGREEMENT_HEADINGS = ("sweep", "λ", "metric", "its mean", "cfsweep's", "difference", "p", "agrees")


@dataclass(frozen=True)
class Setting:
    """What is compared: on which stream, how many trials each peer runs, and for how many the rates are given."""

    stream: str
    job: Job
    trials: Mapping[str, int]
    rate_trials: int


@dataclass
class Results:
    """What was measured, by peer and one per repeat; `absent` says why a peer is not there."""

    measured: dict[str, list[Measured]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    agreement: list[Agreement] = field(default_factory=list)
    load: float = 0.0
    floor_s: float = 0.0


def named(peer: str) -> str:
    return f"({peer}) {PEERS[peer]}"


def rate_rows(results: Results, setting: Setting) -> list[list[str]]:
    """One line per peer, in the order of their letters."""
    rows = []
    for peer in PEERS:
        if peer in results.absent:
            rows.append([named(peer), f"not measured: {results.absent[peer]}", *[""] * (len(RATE_HEADINGS) - 2)])
            continue
        measured = results.measured[peer]
        times = [
            spread(ratios(measured, results.measured[other], setting.rate_trials)) if other in results.measured else ""
            for other in "abc"
        ]
        rows.append(
            [
                named(peer),
                spread([each.per_hour(setting.rate_trials) for each in measured], 0),
                *times,
                str(measured[0].swept.trials),
                spread([each.cpu_s for each in measured], 2),
                f"{max(each.usage.peak_bytes for each in measured) / GIB:.1f}",
            ]
        )
    return rows


def time_rows(results: Results, workers: int) -> list[list[str]]:
    """Where the time goes: medians over the repeats. `the rest` is what the workers' time holds beside training."""

    def middle(measured: Sequence[Measured], of: object, digits: int = 2) -> str:
        return f"{statistics.median(of(each) for each in measured):.{digits}f}"

    rows = []
    for peer, measured in sorted(results.measured.items()):
        columns = (
            lambda m: m.start_s,
            lambda m: m.end_s,
            lambda m: m.trial_s,
            lambda m: workers * m.trial_s,
            lambda m: m.swept.train_s / m.swept.trials,
            lambda m: m.swept.fisher_s / m.swept.trials,
            lambda m: m.swept.references_s / m.swept.trials,
            lambda m: workers * m.trial_s - m.swept.train_s / m.swept.trials,
        )
        cells = [middle(measured, column) for column in columns]
        if peer in "de":
            cells[5] = "–"  # not told apart
        idle = f"{100 * statistics.median(m.idle_frac(workers) for m in measured):.0f} %"
        rows.append([named(peer), *cells, idle, middle(measured, lambda m: m.swept.stopped, 0)])
    return rows


def reached_rows(results: Results) -> list[list[str]]:
    """How long each peer takes to what (a) has found at the end of the same repeat, and how much of the time that is
    which (a) took to it. Medians are of all repeats; one that does not get there counts as endless."""
    rows = []
    for peer, measured in sorted(results.measured.items()):
        cells = [named(peer)]
        for measure in MEASURES:
            pairs = list(zip(measured, results.measured["a"], strict=True))
            took = [each.seconds_to(measure, of_a.best(measure)) for each, of_a in pairs]
            own = [of_a.seconds_to(measure, of_a.best(measure)) for _, of_a in pairs]
            shares = [None if s is None or a is None else s / a for s, a in zip(took, own, strict=True)]
            best = spread([each.best(measure) for each in measured], 4)
            cells += [best, _often(took, 1), _often(shares, 2)]
        rows.append(cells)
    return rows


def _often(values: Sequence[float | None], digits: int) -> str:
    """
    >>> _often([1.0, 3.0, 2.0], 1), _often([1.0, None, 2.0], 1), _often([None, 1.0, None], 1)
    ('2.0 (1.0–3.0)', '2.0 (1.0–never), in 2 of 3', 'never, but in 1 of 3')
    """
    reached = [value for value in values if value is not None]
    if len(reached) == len(values):
        return spread(reached, digits)
    middle = statistics.median_high([math.inf if value is None else value for value in values])
    if middle == math.inf:
        return f"never, but in {len(reached)} of {len(values)}" if reached else "never"
    return f"{middle:.{digits}f} ({min(reached):.{digits}f}–never), in {len(reached)} of {len(values)}"


def agreement_rows(found: Sequence[Agreement]) -> list[list[str]]:
    return [
        [
            named(each.peer),
            f"{each.ewc_lambda:g}",
            each.metric,
            f"{each.mean:.4f}",
            f"{each.ours:.4f}",
            f"{each.mean - each.ours:+.4f}",
            "–" if each.chance is None else f"{each.chance:.3f}",
            {True: "yes", False: "**no**", None: "one seed: unknown"}[each.agrees],
        ]
        for each in found
    ]


def section(results: Results, setting: Setting, foot: str) -> str:
    """The section of the page, in Markdown."""
    job, repeats = setting.job, len(next(iter(results.measured.values())))
    absent = [_paragraph(f"**{named(peer)} was not measured: {why}.**") for peer, why in results.absent.items()]
    return "\n\n".join(
        [
            _paragraph(_what(setting, repeats)),
            *absent,
            markdown_table(RATE_HEADINGS, rate_rows(results, setting)),
            _paragraph(HOW_RATES.format(trials=setting.rate_trials)),
            markdown_table(TIME_HEADINGS, time_rows(results, job.workers)),
            _paragraph(HOW_TIMES.format(workers=job.workers)),
            _paragraph(HOW_REACHED),
            markdown_table(REACHED_HEADINGS, reached_rows(results)),
            _paragraph(_floor(results, setting)),
            _paragraph(HOW_AGREEMENT.format(n=len(job.first), sure=SURE)),
            markdown_table(AGREEMENT_HEADINGS, agreement_rows(results.agreement)),
            _paragraph(CONVENTIONS),
            _paragraph(f"Load average before it began: {results.load:.2f}. {foot}"),
        ]
    )


HOW_RATES = """
Trials per hour are those of a sweep of {trials} trials from the command to its end: start and end are counted for all
alike, and the time per trial of those that ran fewer is taken to stay what it was. A ratio is that of one repeat. The
two references that cfsweep trains beside the trials (naive and joint) are in its time, and count as no trial; trials
that (e) stops do count. All measure accuracy on validation data alone, as a search does: (a) to (c) on tasks already
seen, cfsweep on all of them. Memory is the sum over processes, in which pages that they share count more than once.
"""
HOW_TIMES = """
Seconds; `worker-s/trial` is what {workers} workers spend for a trial, and splits into training (with the Fisher and, in
cfsweep, the references) and the rest: accuracy, scheduling, a new process for each trial (Ray Tune), the start of the
workers (cfsweep, whose first trial counts from when it is handed out), waiting. A first task that trials share counts
in full as training of each, so that of (e) the rest may come out below 0.
"""
HOW_REACHED = """
What a user waits for: the seconds from the command to the trial with which a sweep has found what (a) has found with
its last trial in the same repeat, on validation data: the best objective, and the hypervolume of stability and
plasticity beyond (0, 0). (a) itself may get there before its last trial. A seed decides with how much luck a network
learns, so "never" may be luck, too; (a) to (c) take the repeat's number as their seed, cfsweep 0.
"""
HOW_AGREEMENT = """
Are the answers the same? The first {n} trials of (a) to (c) have given λ, with the number of the repeat as their seed,
and cfsweep trains the same. Accuracy on validation data, means over the seeds; `p` is the probability of such a
difference by the seeds alone (Student's t), and differences with p < {sure:g} are marked.
"""
CONVENTIONS = """
λ is that of the penalty ½·λ·Σ F (θ − θ*)² in all of them, F the sum over tasks of the mean squared gradient of
log p(label | x) of single examples, with the labels of the data (`ewc_fisher: empirical`), θ* the latest weights.
Avalanche's penalty lacks the ½, so it is given λ/2; its own Fisher squares the gradient of a batch's mean and is no
multiple of this one, so its plugin is handed single examples.
"""


def _what(setting: Setting, repeats: int) -> str:
    job = setting.job
    return f"""
        The same sweep over the strength λ of online EWC, through tools that took turns in one process tree:
        {setting.stream}, task-il, MLP {"-".join(map(str, job.hidden))}, {job.epochs} epochs per task, batches of
        {job.batch_size}, Adam {job.lr:g} with fresh moments for each task, {job.ewc_examples} examples for the Fisher,
        λ log-uniform in [{job.low:g}, {job.high:g}] by Optuna's TPE, {job.workers} workers of one thread each,
        {repeats} repeats (the order turns with each): medians, and in brackets the least and the most."""


def _floor(results: Results, setting: Setting) -> str:
    most = 3600 * setting.job.workers / results.floor_s
    times = statistics.median(most / m.per_hour(setting.rate_trials) for m in results.measured["a"])
    return f"""
        The floor: the matrix products and Adam's updates of one trial, with nothing else around them, take
        {results.floor_s:.2f} s here, in one thread. So whoever trains every trial from its first step to its last, in
        {setting.job.workers} such threads, stays under {most:.0f} trials an hour, {times:.1f} times (a). Beyond it lies
        only what is not trained: first tasks that trials share, and trials that are stopped."""


def _paragraph(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 120, break_on_hyphens=False, break_long_words=False)
