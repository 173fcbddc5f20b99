"""The sections of the report, each as HTML, and empty where the study has nothing to show in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.aggregate import AVERAGE_COLUMN, best, column_of, finished, repeats, row_of, trials, value
from analysis.choice import selection
from analysis.confirmation import columns, confirmation, confirmed_in, is_tested, known_on_test, luck
from analysis.constant_answer import notes_on_imbalance, notes_on_majority, tasks_behind
from analysis.description import Root, Setting, Study, shown_settings, study
from analysis.formatting import mean_sd, mean_sd_of, one_line, plain, settings_text, trial_name, unsigned
from analysis.frames import curves, load, matrix_of, table_of
from analysis.fronts import Front, front
from analysis.known_tasks import known_on_validation
from analysis.recipe import next_command, space_file, space_text
from analysis.references import METHODS, best_reference
from analysis.reporting import html
from analysis.reporting.contours import MEANING
from analysis.reporting.figures import front_figure, matrix_figure
from analysis.reporting.importance import importance
from analysis.reporting.progress_figures import curves_figure, progress_figure
from analysis.reporting.setting_figures import importance_figure, parallel_figure
from analysis.reporting.tables import listed, table_cells
from analysis.seeds import being_added
from cfsweep.results.addresses import in_command
from cfsweep.results.changes import said_of_changes
from cfsweep.results.schema import DEFAULT_TRIAL, MAJORITY_TRIAL, NAIVE

CORRECTED = "corrected_average_score"


@dataclass(frozen=True)
class Content:
    """What the sections are about.

    `trials` is `analysis.trials` of the study in `root`, `found` its front; `added` are the seeds that do not count in
    either yet. `record` is `analysis.selection`. `chosen` is the selected trial, or, where none is, the one with the
    highest average validation score; None before any has finished.
    """

    root: Root
    about: Study
    trials: pd.DataFrame
    found: Front
    added: list[int]
    settings: tuple[Setting, ...]
    record: Mapping[str, Any] | None
    chosen: int | None

    @property
    def objective(self) -> str:
        """What a trial is measured by where one number must do: `mixed` if the sweep maximised it."""
        mixed = self.about.objectives == ("mixed",) and "objective_mixed" in self.trials.columns
        known = mixed and finished(self.trials)["objective_mixed"].notna().any()
        return "mixed" if known else "average_score"


def content_of(root: Root) -> Content:
    """The content of the report of the study in `root`.

    Raises:
        InputError: `root` holds no study.
    """
    about, runs = study(root), load(root)
    all_trials = trials(runs)
    record = selection(root)
    row = best(all_trials) if record is None else record
    return Content(
        root=root,
        about=about,
        trials=all_trials,
        found=front(all_trials, about.front_objectives, runs, about.score_bounds),
        added=being_added(runs),
        settings=shown_settings(about, all_trials),
        record=record,
        chosen=None if row is None else int(row["trial"]),
    )


def headline(content: Content) -> str:
    """Average accuracies and counts of trials, as cards; then what to beware of in them."""
    naive, joint = (row_of(content.trials, best_reference(content.trials, method)) for method in METHODS)
    default, constant = (row_of(content.trials, number) for number in (DEFAULT_TRIAL, MAJORITY_TRIAL))
    top = best(content.trials)
    table = content.found.table
    expected = value(row_of(table, int(top["trial"])), CORRECTED) if top is not None and len(table) else None
    held = value(top, AVERAGE_COLUMN) if expected is None else expected
    gap = recovered(value(naive, AVERAGE_COLUMN), value(joint, AVERAGE_COLUMN), held)
    cards = [
        (mean_sd_of(naive, AVERAGE_COLUMN), "naive (no remedy)"),
        (mean_sd_of(default, AVERAGE_COLUMN), "default settings (trial 0)"),
        (mean_sd_of(top, AVERAGE_COLUMN), "best" if top is None else f"best, trial {trial_name(int(top['trial']))}"),
        *(
            [(mean_sd(expected), f"the same, corrected for the choice among {len(table)}")]
            if expected is not None
            else []
        ),
        (mean_sd_of(joint, AVERAGE_COLUMN), "joint (all data so far)"),
        *([] if constant is None else [(mean_sd_of(constant, AVERAGE_COLUMN), "majority (the constant answer)")]),
        ("–" if gap is None else f"{gap:.0%}", "of the gap naive–joint recovered by the best"),
        _counts(content.trials),
    ]
    lead = '<p class="muted">Average score over all tasks at the end (mean ± sd over seeds):</p>'
    beware = [*notes_on_majority(content.trials, content.found.members["trial"].tolist())]
    beware += [f"The study {line}." for line in said_of_changes(content.about.raw)]
    beware += notes_on_imbalance(content.about)
    return lead + html.cards(cards) + "".join(map(html.note, beware))


def _counts(all_trials: pd.DataFrame) -> tuple[str, str]:
    """How many trials are in which state, and what the numbers are."""
    states = all_trials.loc[all_trials["trial"] >= 0, "state"].tolist()
    shown = ["done", "stopped", "failed", *(["incomplete"] if "incomplete" in states else [])]
    return " / ".join(str(states.count(state)) for state in shown), f"trials {' / '.join(shown)}"


def recovered(naive: float | None, joint: float | None, best_value: float | None) -> float | None:
    """The share of the gap between naive and joint that the best trial closes; None without a gap.

    >>> round(recovered(0.8, 0.9, 0.88), 12), recovered(0.9, 0.9, 0.9)
    (0.8, None)
    """
    if naive is None or joint is None or best_value is None or joint <= naive:
        return None
    return (best_value - naive) / (joint - naive)


def front_section(content: Content) -> str:
    """The front: its size and hypervolume, what to beware of, the figure."""
    found, n_tasks = content.found, len(content.about.tasks)
    notes = [html.note(text) for text in found.notes]
    if not len(found.table):
        return html.section("front", "Stability and plasticity", *notes)
    figure = html.chart(front_figure(found, content.settings, n_tasks, content.chosen), "front-figure")
    lines = html.paragraph(MEANING) if n_tasks > 1 else ""
    text = html.paragraph(_front_text(found))
    return html.section("front", "Stability and plasticity", text, *notes, figure, lines)


def _front_text(found: Front) -> str:
    volume = f"Hypervolume {plain(found.hypervolume)}"
    if found.corrected_hypervolume:
        volume += f" (without what noise adds: {unsigned(found.corrected_hypervolume)})"
    point = ", ".join(f"{name} {p:g}" for name, p in zip(found.objectives, found.reference_point, strict=True))
    text = (
        f"{len(found.members)} of {len(found.table)} trials are on the front: no other trial is as good in "
        f"{' and '.join(found.objectives)} and better in one of them. {volume}, above the reference point ({point})."
    )
    if len(found.objectives) == 3:
        text += f" The figure is a projection; colour is {found.objectives[2]}, less is better."
    return text


def choice_section(content: Content) -> str:
    """The chosen trial: its settings, the test accuracies that its selection opened, itself as a space file, and the
    command to run next."""
    row = row_of(content.trials, content.chosen) if content.chosen is not None else None
    if row is None:
        return ""
    trial = int(row["trial"])
    text = f"Trial {trial_name(trial)}: {settings_text(row, content.settings)}."
    told = (tasks_behind(content.root, trial, content.added), known_on_validation(content.root, trial))
    known = [html.paragraph(said) for said in told if said]
    command = html.verbatim(next_command(content.about, content.root, trial, content.record is not None))
    pasted = [
        html.paragraph(f"As a space file that trains this configuration alone, {space_file(content.root, trial)}:"),
        html.verbatim(space_text(content.about, row)),
    ]
    if content.record is None:
        how = "It has the highest average validation score. Test data stay closed until a trial is selected:"
        return html.section(
            "choice", "The chosen trial", html.paragraph(text), *known, html.paragraph(how), command, *pasted
        )
    how = "It was selected on validation data, and is on record in selection.json."
    parts = [html.paragraph(f"{text} {how}"), *known, *_confirmed(content), *pasted]
    return html.section("choice", "The chosen trial", *parts, html.paragraph("With more seeds:"), command)


def _confirmed(content: Content) -> list[str]:
    """What fresh seeds and test data say of the trials that were confirmed, or how to ask them."""
    parts: list[str] = []
    if is_tested(content.root):
        found = confirmation(content.root)
        shown = columns(found)
        said = f"Average score at the end. {luck(found)}".strip()
        parts += [html.paragraph(said), html.table(list(shown), list(map(list, zip(*shown.values(), strict=True))))]
        parts += [html.paragraph(known) for known in (known_on_test(content.root),) if known]
    if confirmed_in(content.root) is None:
        how = "Fresh seeds, which had no part in the choice, and test data say how good it is:"
        parts += [html.paragraph(how), html.verbatim(f"cfsweep confirm {in_command(content.root)}")]
    return parts


def matrix_section(content: Content) -> str:
    """The score matrices of the chosen trial and of `naive`."""
    rows = table_of(content.root, "accuracy")
    rows = rows[~rows["seed"].isin(content.added)]
    matrices: list[tuple[str, NDArray[np.float64]]] = []
    for trial, title in ((content.chosen, f"trial {content.chosen}"), (best_reference(content.trials, NAIVE), NAIVE)):
        if trial is not None and (rows["trial"] == trial).any():
            matrices.append((title, matrix_of(rows, trial, score=content.about.score)))
    if not matrices:
        return ""
    text = (
        f"Row by row: the {content.about.score} on every task after each task was learned, mean over seeds. Going down "
        "a column below the diagonal shows a task being kept or forgotten; above it, a task not yet seen."
    )
    about = content.about
    drawn = matrix_figure(matrices, about.tasks, about.score, about.score_bounds, about.first_row)
    figure = html.chart(drawn, "matrix-figure")
    return html.section("matrix", "Score matrix", html.paragraph(text), figure)


def parallel_section(content: Content) -> str:
    """The settings of every finished trial beside its results."""
    if not len(finished(content.trials)) or not content.settings:
        return ""
    text = (
        "Every line is a finished trial, darker is better; settings on a log scale have it here too, zeros at the "
        "foot below a gap. Click a group below to hide it."
    )
    if finished(content.trials)[[s.column for s in content.settings]].isna().any(axis=None):
        text += " A setting that could not act is at the foot, marked –."
    figure = parallel_figure(content.trials, content.settings, _known_objectives(content))
    chart = html.chart(figure, "parallel-figure")
    return html.section("parallel", "Settings and results", html.paragraph(text), chart)


def _known_objectives(content: Content) -> list[str]:
    """The objectives with a value in at least one finished trial."""
    done = finished(content.trials)
    names = dict.fromkeys((*content.about.front_objectives, content.objective))
    return [name for name in names if done[column_of(name, list(done.columns))].notna().any()]


def importance_section(content: Content) -> str:
    """Which settings mattered, or why that cannot be said."""
    if not len(finished(content.trials)) or not content.settings:
        return ""
    found = importance(content.trials, content.settings, content.objective)
    nothing = all(drop is None for drop in found.values.values())
    parts = [html.note(found.note) if nothing or (found.r2 or 0) <= 0 else html.paragraph(found.note)]
    constant = [name for name, drop in found.values.items() if drop is None]
    if not nothing:
        parts.append(html.chart(importance_figure(found), "importance-figure"))
    if not nothing and constant:
        parts.append(html.paragraph(f"Without a number, since they do not vary: {', '.join(constant)}."))
    heading = f"Which settings mattered for {content.objective.replace('_', ' ')}"
    return html.section("importance", heading, *parts)


def progress_section(content: Content) -> str:
    """The objective of the trials in their order."""
    if not len(finished(content.trials)):
        return ""
    figure = progress_figure(content.trials, content.settings, content.objective, content.about.score_bounds)
    return html.section("progress", "Objective over trials", html.chart(figure, "progress-figure"))


def curves_section(content: Content) -> str:
    """The accuracy of the chosen trial during its training, where it was recorded."""
    if not len(finished(content.trials)) or content.chosen is None:
        return ""
    rows = curves(content.root)
    about = content.about
    figure = curves_figure(
        rows[~rows["seed"].isin(content.added)], content.chosen, about.tasks, about.score, about.score_bounds
    )
    if figure is None:
        return ""
    heading = f"Accuracy during training, trial {content.chosen}"
    return html.section("curves", heading, html.chart(figure, "curves-figure"))


def table_section(content: Content) -> str:
    """The trials on the front as a table."""
    rows = listed(content.found)
    if not len(rows):
        return ""
    head, cells = table_cells(content.found, rows, content.settings)
    text = "Highest average score first; then the default, if it is not on the front, and the references."
    return html.section("table", "Trials on the front", html.paragraph(text), html.table(head, cells))


def failed_section(content: Content) -> str:
    """The trials that ended by an error, and why, each configuration once."""
    failed = content.trials[content.trials["state"] == "failed"]
    if failed.empty:
        return ""
    again = repeats(failed)
    text = f"Each configuration once: {again.sum()} trial(s) that came to the same as one of these left out."
    failed = failed[~again]
    rows = []
    for _, row in failed.iterrows():
        reason = row["failure"] if not pd.isna(row["failure"]) else "no reason recorded"
        rows.append([trial_name(int(row["trial"])), one_line(str(reason)), settings_text(row, content.settings)])
    shown = html.table(["trial", "reason", "settings"], rows)
    return html.section("failed", "Failed trials", *([html.paragraph(text)] if again.any() else []), shown)
