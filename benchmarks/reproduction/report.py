"""Writes what was claimed beside what was measured, as Markdown."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

import analysis
from benchmarks.reproduction.measured import Measured, measured
from benchmarks.reproduction.model import UNEXPLAINED, WITHIN, Claim, Quantity, Row, Table, Why, verdict
from benchmarks.reproduction.runner import Job
from benchmarks.reproduction.side_by_side import markdown, number, side_by_side

Results = Mapping[str, Measured | str]
SIGNS = {"about": "", "below": "< ", "above": "> ", "exactly": ""}
HEAD = """# Published tables, measured with cfsweep

Written by `python -m benchmarks.reproduce`; do not edit. Accuracies are in percent of the test set, differences in
points; ± is the standard deviation over seeds. `within`: the mean lies within 3 points of the published one, or within
2 published standard deviations where these are given and are more. Every other number says why it differs and which
row, measured by the same command, shows it, or that nothing explains it yet.
"""


def report(tables: Sequence[Table], jobs: Sequence[Job], command: str) -> str:
    """The whole page. Rows that were not measured stand in it as such.

    Raises:
        InputError: a folder holds another study, or is damaged.
    """
    by_key = {job.key: job for job in jobs}
    results = {key: measured(job) for key, job in by_key.items()}
    parts = [HEAD, _circumstances(results, jobs, command), _summary(tables, results)]
    for table in tables:
        parts += [f"## {table.title}", f"Source: {table.source}. {_images(table, results)}"]
        parts.append("\n".join(f"- {fact}" for fact in table.facts))
        shown = [row for row in table.rows if not row.experiment]
        parts.append(side_by_side(table, results) if table.side_by_side else _lines(table, shown, results))
        experiments = [row for row in table.rows if row.experiment]
        if experiments:
            parts += ["### Experiments", _lines(table, experiments, results)]
        parts += [_trace(row, results[table.key(row)]) for row in table.rows if row.trace]
        parts += [_front(by_key[table.key(row)], results[table.key(row)]) for row in table.rows if row.front]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _claim(claim: Claim | None) -> str:
    return "–" if claim is None else SIGNS[claim.sense] + number(claim.value, claim.sd)


def line(row: Row, quantity: Quantity, result: Measured | str, results: Results) -> tuple[str, ...]:
    """One line of a table: method, setting, quantity, claimed, measured, difference, verdict."""
    start = (row.method, row.setting, quantity.name, _claim(quantity.claim))
    if isinstance(result, str):
        return (*start, "–", "–", result)
    mean, sd = result.of(quantity)
    about = quantity.claim is not None and quantity.claim.sense == "about"
    difference = f"{mean - quantity.claim.value:+.2f}" if quantity.claim is not None and about else "–"
    said = verdict(quantity.claim, mean, _reason(quantity.why, results))
    if row.experiment and said == UNEXPLAINED:
        said = "differs"  # it explains others; nothing needs to explain it
    return (*start, number(mean, sd), difference, said)


def _reason(why: Why | None, results: Results) -> str | None:
    """The reason with the rows that show it; None while one of them is not measured."""
    if why is None or any(isinstance(results.get(key, ""), str) for key in why.see):
        return None
    return f"{why.text} (see {', '.join(f'`{key}`' for key in why.see)})"


def _lines(table: Table, rows: Sequence[Row], results: Results) -> str:
    heads = ("row", "method", "setting", "quantity", "claimed", "measured", "difference", "verdict")
    lines = []
    for row in rows:
        for place, quantity in enumerate(row.quantities):
            name = f"`{row.name}`" if place == 0 else ""
            lines.append((name, *line(row, quantity, results[table.key(row)], results)))
    return markdown(heads, lines)


def _summary(tables: Sequence[Table], results: Results) -> str:
    """How many numbers of each table are within, differ with a reason, differ without one, or are missing."""
    lines = []
    for table in tables:
        verdicts = [
            line(row, quantity, results[table.key(row)], results)[-1]
            for row in table.rows
            for quantity in row.quantities
            if quantity.claim is not None and not row.experiment
        ]
        within, unexplained = verdicts.count(WITHIN), verdicts.count(UNEXPLAINED)
        differs = sum(1 for v in verdicts if v.startswith("differs")) - unexplained
        missing = len(verdicts) - within - differs - unexplained
        lines.append((table.title, *map(str, (len(verdicts), within, differs, unexplained, missing))))
    heads = ("table", "claims", "within", "differ, explained", "differ, not explained", "not measured")
    return markdown(heads, lines)


def _circumstances(results: Results, jobs: Sequence[Job], command: str) -> str:
    """Where, when and with what the numbers were measured."""
    found = [result for result in results.values() if isinstance(result, Measured)]
    if not found:
        return f"Command: `{command}`. Nothing was measured yet."
    dates = sorted(result.started_at for result in found)
    versions = {f"{name} {version}" for result in found for name, version in result.versions.items()}
    wanted = sorted(v for v in versions if v.split()[0] in ("cfsweep", "torch", "ray", "optuna", "numpy"))
    hours = sum(result.train_s for result in found) / 3600
    devices = sorted({device for result in found for device in result.devices})
    period = f"{dates[0]:%Y-%m-%d} to {dates[-1]:%Y-%m-%d}"
    return (
        f"Command: `{command}`. {jobs[0].config.seeds} seeds. Measured from {period} on {_processor()} "
        f"({', '.join(devices)}), {hours:.2f} hours of training in all, with {', '.join(wanted)}."
    )


def _images(table: Table, results: Results) -> str:
    """How much of the published data there was, as the table's first measured row has it."""
    found = [r for row in table.rows if isinstance(r := results[table.key(row)], Measured)]
    if not found:
        return ""
    train, held_out, test = found[0].images
    return (
        f"Data: {train + held_out:,} of the {table.published_images:,} published training images ({held_out:,} of them "
        f"held out for validation), {test:,} test images."
    )


def _processor() -> str:
    """The processor's name, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")] if cpuinfo.exists() else []
    return names[0].split(":", 1)[1].strip() if names else platform.processor() or platform.machine()


def _trace(row: Row, result: Measured | str) -> str:
    """The accuracy on each task after each task, mean over seeds."""
    if isinstance(result, str):
        return ""
    mean = 100 * np.mean(result.matrices, axis=0)
    heads = ("after", *(f"task {task}" for task in range(len(mean))))
    lines = [(f"task {t}", *(number(cell) if i <= t else "" for i, cell in enumerate(x))) for t, x in enumerate(mean)]
    return f"### Trace of `{row.name}`\n\n{markdown(heads, lines)}"


def _front(job: Job, result: Measured | str) -> str:
    """The trials on the front, as validation data sees them, and what was searched."""
    if isinstance(result, str):
        return ""
    runs = analysis.load(job.folder)
    members = analysis.front(analysis.trials(runs), runs=runs).members
    searched = list(job.config.space.search)
    lines = [
        (
            str(member["trial"]),
            *(_setting(member[f"hp_{name}"]) for name in searched),
            *(number(100 * member[f"val_{m}"], 100 * member[f"val_{m}_sd"]) for m in ("stability", "plasticity")),
            f"{member['p_on_front']:.2f}",
        )
        for member in members.to_dict("records")
    ]
    chosen = ", ".join(f"{name} {_setting(result.settings[name])}" for name in searched)
    heads = ("trial", *searched, "stability", "plasticity", "share of resamples on the front")
    text = f"{job.config.trials} trials; measured on test data above: {chosen}."
    return f"### Front of `{job.row.name}`, validation data\n\n{text}\n\n{markdown(heads, lines)}"


def _setting(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
