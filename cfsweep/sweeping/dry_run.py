"""What a sweep would do, in print."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from cfsweep.config import PARTS, Choices, Range
from cfsweep.errors import few
from cfsweep.metrics import average_score
from cfsweep.results.status import budget
from cfsweep.sweeping.notes import capacities, describe_references, never_acting, percent, steps_of_tasks
from cfsweep.sweeping.study import Prepared
from cfsweep.texts import score_text
from cfsweep.training.constant_answer import class_counts, constant_answer
from cfsweep.training.streams import ClassId
from cfsweep.training.targets import Outputs, target_of

MOST_CLASSES = 5  # of a task that are listed one by one
_SHOWN = ("space", "stream", "objective", "trials", "seeds", "identity_version")  # with lines of their own


def show_plan(prepared: Prepared, folder: str | Path, console: Console) -> None:
    """Prints what a sweep would do, in this folder or at this address."""
    config = prepared.config
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("study", config.study_id)
    table.add_row("stream", f"{config.stream.name}, {config.stream.scenario}, {len(prepared.stream.tasks)} tasks")
    has_classes = config.space.trainer is None and target_of(prepared.stream.target).has_classes
    counts = class_counts(prepared.stream) if has_classes else [{} for _ in prepared.stream.tasks]
    for task, of_task in zip(prepared.stream.tasks, counts, strict=True):
        sizes = (f"{len(indices)} {part}" for part, indices in task.parts.items() if len(indices))
        table.add_row("", f"{task.name}: {', '.join(sizes)}" if config.space.trainer is None else task.name)
        if of_task:
            table.add_row("", f"  {_by_class(of_task)}")
    if config.space.trainer is not None:
        table.add_row("trainer", f"{config.space.trainer}, which has trained two tasks to try it out")
    if prepared.outputs is not None:
        _add_network(table, prepared, prepared.outputs)
        fewest, most = steps_of_tasks(config, prepared.hypers, prepared.stream)
        table.add_row("steps per task", f"{fewest}" if fewest == most else f"{fewest} to {most}")
    idle = {} if config.space.trainer is not None else never_acting(config.space, prepared.hypers)
    for name, hyper in prepared.hypers.items():
        searched = config.space.search.get(name)
        described = _describe(searched) if searched else f"{config.space.fixed.get(name, hyper.default)}"
        described += f" (cannot act: {idle[name]})" if name in idle else ""
        table.add_row(f"  {name}", described)
    told = (("scores", config.stream.scores), ("positive", config.stream.positive))
    for name, given in (*told, ("class weights", config.stream.class_weights)):
        if given:
            table.add_row(name, ", ".join(given) if isinstance(given, tuple) else str(given))
    weighed = f", old weight {config.objective.old_weight:g}" if config.objective.name == "mixed" else ""
    table.add_row("objective", ", ".join(config.objective.names) + weighed)
    table.add_row("budget", budget(config.trials, config.seeds, config.stream.splits))
    if config.references:
        table.add_row("references", describe_references(config))
        constant = constant_answer(prepared.stream, config.stream.scenario, PARTS[:1])
        matrix = np.array(constant.steering["validation"])[1:]
        table.add_row("", f"majority, the constant answer: ends at {score_text(average_score(matrix), 3)}")
    changed = {key: value for key, value in config.model_dump(exclude_defaults=True).items() if key not in _SHOWN}
    table.add_row("also set", ", ".join(f"{key}={value}" for key, value in changed.items()) or "nothing")
    table.add_row("folder", f"{folder} (nothing was written)")
    console.print(table, markup=False, highlight=False)
    _show_capacities(prepared, console)
    show_notes(prepared, console)


def _add_network(table: Table, prepared: Prepared, outputs: Outputs) -> None:
    """Adds what is trained, and with which remedies."""
    config, stream = prepared.config, prepared.stream
    if (rows := stream.preprocessing) is not None:
        table.add_row("columns", ", ".join(f"{column.name} {column.kind}" for column in rows.columns))
    by: str | None = config.stream.standardise
    if rows is not None and rows.text is None:
        by = f"training rows, preprocessing={rows.settings.preprocessing}"
    table.add_row("standardised by", by or "")
    if config.stream.augment:
        table.add_row("augmented by", ", ".join(config.stream.augment))
    table.add_row("outputs", f"{outputs.n_outputs}: {outputs.meaning}")
    network = config.space.network
    if stream.class_ids:
        # Who brings weights must bring their outputs in this order.
        listed = few(stream.class_ids) if network.init is None else ", ".join(map(str, stream.class_ids))
        table.add_row("", f"classes by number, from 0: {listed}")
    table.add_row("network", f"{network.name} {network.args or ''}")
    if network.init is not None:
        table.add_row("", f"begins with {network.init} (SHA-256 {str(network.init_sha256)[:12]})")
    if network.freeze:
        table.add_row("", f"holds {', '.join(network.freeze)}")
    if stream.n_learned:
        names = few(f"`{task.name}`" for task in stream.tasks[: stream.n_learned])
        table.add_row("", f"knows {names}, evaluated and not trained")
    table.add_row("ingredients", ", ".join(config.space.ingredients) or "none (naive)")


def _by_class(counts: Mapping[ClassId, tuple[int, int, int]]) -> str:
    """How many training, steering (where there are any) and validation examples of a task each class has; of many
    classes the fewest and the most.

    >>> _by_class({0: (736, 0, 92), 1: (64, 0, 8)})
    'by class, train + validation: 0: 736 + 92, 1: 64 + 8'
    >>> _by_class({0: (644, 92, 92), 1: (56, 8, 8)})
    'by class, train + steering + validation: 0: 644 + 92 + 92, 1: 56 + 8 + 8'
    >>> _by_class({label: (90 + label, 0, 10) for label in range(10)})
    '10 classes, each with 90 to 99 train + 10 to 10 validation'
    """
    of_parts = dict(zip(("train", "steering", "validation"), zip(*counts.values(), strict=True), strict=True))
    shown = {part: of for part, of in of_parts.items() if part != "steering" or any(of)}
    if len(counts) <= MOST_CLASSES:
        sums = zip(counts, zip(*shown.values(), strict=True), strict=True)
        return f"by class, {' + '.join(shown)}: " + ", ".join(
            f"{label}: {' + '.join(map(str, n))}" for label, n in sums
        )
    spans = (f"{min(of)} to {max(of)} {part}" for part, of in shown.items())
    return f"{len(counts)} classes, each with {' + '.join(spans)}"


def _show_capacities(prepared: Prepared, console: Console) -> None:
    """Prints what share of the weights PackNet will leave to each task, if the study has it."""
    found = capacities(prepared.config.space, prepared.hypers, len(prepared.stream.tasks))
    if not found:
        return
    table = Table("packnet: share of the prunable weights", box=None, pad_edge=False, header_style="")
    for capacity in found:
        table.add_column(capacity.label, justify="right")
    names = [f"  {task.name}" for task in prepared.stream.tasks]
    for row, name in enumerate([*names, "  still free after the last task"]):
        table.add_row(name, *(percent(capacity.shares[row]) for capacity in found))
    console.print(table, markup=False, highlight=False)


def show_notes(prepared: Prepared, console: Console) -> None:
    """Prints what the user should know of a study before it begins."""
    for note in prepared.notes:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)


def _describe(searched: Range | Choices) -> str:
    """
    >>> _describe(Range(low=0.1, high=1e8, log=True, zero=True))
    'searched: 0.1 to 1e+08 on a log scale, or 0'
    """
    if isinstance(searched, Choices):
        return "searched: " + " or ".join(str(choice) for choice in searched.choices)
    return (
        f"searched: {searched.low:g} to {searched.high:g}"
        + (", whole numbers" if searched.whole else "")
        + (" on a log scale" if searched.log else "")
        + (", or 0" if searched.zero else "")
    )
