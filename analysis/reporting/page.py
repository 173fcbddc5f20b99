"""`report.html`: everything about a study on one page that works offline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.aggregate import best, finished, row_of, trials, value
from analysis.choice import opened_by, selection, test_cell, test_summary
from analysis.description import Root, Setting, Study, shown_settings, study
from analysis.files import local_folder, write_whole
from analysis.formatting import mean_sd_of, one_line, plain, settings_text, trial_name
from analysis.frames import curves, frame, load, matrix_of
from analysis.fronts import Front, front
from analysis.reporting import glossary, html
from analysis.reporting.contours import MEANING
from analysis.reporting.figures import front_figure, matrix_figure
from analysis.reporting.importance import importance
from analysis.reporting.progress_figures import curves_figure, progress_figure
from analysis.reporting.setting_figures import importance_figure, parallel_figure
from analysis.reporting.tables import listed, table_cells
from cfsweep.results.reader import read_table
from cfsweep.results.schema import DEFAULT_TRIAL, JOINT_TRIAL, NAIVE_TRIAL

AVERAGE = "val_average_accuracy"


def report(root: Root, out: Path | None = None) -> Path:
    """Writes the report of the study in `root` to `out` (`root/report.html`) and returns its path.

    The study may be unfinished, or have no finished trial yet: the page says so.

    Raises:
        InputError: `root` holds no study; it is remote and `out` is not given.
    """
    target = out if out is not None else local_folder(root) / "report.html"
    text = render(root).encode()
    return write_whole(target, lambda file: file.write(text))


def render(root: Root) -> str:
    """The report as one HTML document."""
    about = study(root)
    runs = load(root)
    all_trials = trials(runs)
    found = front(all_trials, about.front_objectives, runs)
    record = selection(root)
    chosen = record["trial"] if record else None
    if chosen is None and (top := best(all_trials)) is not None:
        chosen = int(top["trial"])
    settings = shown_settings(about, all_trials)
    body = [
        _headline(all_trials),
        _front_section(found, settings, about, chosen),
        _choice_section(root, all_trials, settings, chosen, record is not None),
        _matrix_section(root, chosen, about),
        _settings_sections(all_trials, settings, about),
        _progress_section(root, all_trials, settings, about, chosen),
        _table_section(found, settings),
        _failed_section(all_trials, settings),
        "</main>",
        glossary.glossary(about, found),
    ]
    return html.document(
        f"Sweep of {about.where or about.study_id}", _subtitle(about, all_trials), [p for p in body if p]
    )


def _subtitle(about: Study, all_trials: pd.DataFrame) -> str:
    own = all_trials[all_trials["trial"] >= 0]
    planned = f" of {about.trials} planned" if about.trials else ""
    seeds = f", {about.seeds} seed(s) each" if about.seeds else ""
    return f"Study {about.study_id}: {len(own)}{planned} trials{seeds}. Every accuracy is on validation data."


def _headline(all_trials: pd.DataFrame) -> str:
    top = best(all_trials)
    rows = {name: row_of(all_trials, t) for name, t in (("naive", NAIVE_TRIAL), ("joint", JOINT_TRIAL))}
    default = row_of(all_trials, DEFAULT_TRIAL)
    found = [(_average(rows["naive"]), "naive (no remedy)"), (_average(default), "default settings (trial 0)")]
    found.append((_average(top), f"best, trial {trial_name(int(top['trial']))}" if top is not None else "best"))
    found.append((_average(rows["joint"]), "joint (all data so far)"))
    gap = recovered(value(rows["naive"], AVERAGE), value(rows["joint"], AVERAGE), value(top, AVERAGE))
    found.append((f"{gap:.0%}" if gap is not None else "–", "of the gap naive–joint recovered by the best"))
    states = all_trials.loc[all_trials["trial"] >= 0, "state"].tolist()
    counts = [f"{states.count(s)}" for s in ("done", "stopped", "failed")]
    text = "trials done / stopped / failed"
    if "incomplete" in states:
        counts.append(str(states.count("incomplete")))
        text += " / incomplete"
    found.append((" / ".join(counts), text))
    lead = '<p class="muted">Average accuracy over all tasks at the end (mean ± sd over seeds):</p>'
    return lead + html.cards(found)


def _average(row: pd.Series | None) -> str:
    return mean_sd_of(row, AVERAGE)


def recovered(naive: float | None, joint: float | None, best_value: float | None) -> float | None:
    """The share of the gap between naive and joint that the best trial closes; None without a gap.

    >>> round(recovered(0.8, 0.9, 0.88), 12), recovered(0.9, 0.9, 0.9)
    (0.8, None)
    """
    if naive is None or joint is None or best_value is None or joint <= naive:
        return None
    return (best_value - naive) / (joint - naive)


def _front_section(found: Front, settings: tuple[Setting, ...], about: Study, chosen: int | None) -> str:
    notes = [html.note(text) for text in found.notes]
    if not len(found.table):
        return html.section("front", "Stability and plasticity", *notes)
    volume = f"Hypervolume {plain(found.hypervolume)}"
    if found.hypervolume_interval:
        low, high = found.hypervolume_interval
        volume += f" (95% interval from resampled seeds: {low:.3f} to {high:.3f})"
    point = ", ".join(f"{name} {p:g}" for name, p in zip(found.objectives, found.reference_point, strict=True))
    text = f"{len(found.members)} of {len(found.table)} trials are on the front: no other trial is as good in "
    text += (
        f"{' and '.join(found.objectives)} and better in one of them. {volume}, above the reference point ({point})."
    )
    if len(found.objectives) == 3:
        text += f" The figure is a projection; colour is {found.objectives[2]}, less is better."
    figure = html.chart(front_figure(found, settings, len(about.tasks), chosen), "front-figure")
    lines = html.paragraph(MEANING) if len(about.tasks) > 1 else ""
    return html.section("front", "Stability and plasticity", html.paragraph(text), *notes, figure, lines)


def _choice_section(
    root: Root, all_trials: pd.DataFrame, settings: tuple[Setting, ...], chosen: int | None, selected: bool
) -> str:
    row = row_of(all_trials, chosen) if chosen is not None else None
    if row is None:
        return ""
    text = f"Trial {trial_name(int(row['trial']))}: {settings_text(row, settings)}."
    if not selected:
        how = "It has the highest average validation accuracy. Test accuracies stay sealed until a trial is selected."
        return html.section("choice", "The chosen trial", html.paragraph(text), html.paragraph(how))
    tests = test_summary(root)
    rows = [
        [trial_name(trial), _average(row_of(all_trials, trial)), test_cell(tests, trial)]
        for trial in opened_by(int(row["trial"]))
    ]
    head = ["trial", "validation, average accuracy", "test, average accuracy"]
    how = "It was selected on validation data, and is on record in selection.json, before these test numbers were read."
    return html.section("choice", "The chosen trial", html.paragraph(f"{text} {how}"), html.table(head, rows))


def _matrix_section(root: Root, chosen: int | None, about: Study) -> str:
    rows = frame(read_table(root, "accuracy"))
    matrices: list[tuple[str, NDArray[np.float64]]] = []
    for trial, title in ((chosen, f"trial {chosen}"), (NAIVE_TRIAL, "naive")):
        if trial is not None and (rows["trial"] == trial).any():
            matrices.append((title, matrix_of(rows, trial)))
    if not matrices:
        return ""
    text = "Row by row: the accuracy on every task after each task was learned, mean over seeds. Going down a column "
    text += "below the diagonal shows a task being kept or forgotten; above it, a task not yet seen."
    figure = html.chart(matrix_figure(matrices, about.tasks), "matrix-figure")
    return html.section("matrix", "Accuracy matrix", html.paragraph(text), figure)


def _settings_sections(all_trials: pd.DataFrame, settings: tuple[Setting, ...], about: Study) -> str:
    if not len(finished(all_trials)) or not settings:
        return ""
    lines = html.chart(parallel_figure(all_trials, settings, _objectives(about, all_trials)), "parallel-figure")
    text = "Every line is a finished trial, darker is better; settings on a log scale have it here too, zeros at the "
    text += "foot below a gap. Click a group below to hide it."
    parallel = html.section("parallel", "Settings and results", html.paragraph(text), lines)
    target = _main_objective(about, all_trials)
    found = importance(all_trials, settings, target)
    nothing = all(v is None for v in found.values.values())
    parts = [html.note(found.note) if nothing or (found.r2 or 0) <= 0 else html.paragraph(found.note)]
    if not nothing:
        parts.append(html.chart(importance_figure(found), "importance-figure"))
        constant = [name for name, drop in found.values.items() if drop is None]
        parts += [html.paragraph(f"Without a number, since they do not vary: {', '.join(constant)}.")] * bool(constant)
    return parallel + html.section("importance", f"Which settings mattered for {target.replace('_', ' ')}", *parts)


def _main_objective(about: Study, all_trials: pd.DataFrame) -> str:
    mixed = about.objectives == ("mixed",) and "objective_mixed" in all_trials.columns
    return "mixed" if mixed and finished(all_trials)["objective_mixed"].notna().any() else "average_accuracy"


def _objectives(about: Study, all_trials: pd.DataFrame) -> list[str]:
    """The objectives with a value in at least one finished trial."""
    done = finished(all_trials)
    names = (*about.front_objectives, _main_objective(about, all_trials))
    columns = {name: name if name in done.columns else f"val_{name}" for name in names}
    columns |= {"mixed": "objective_mixed"}
    return [n for n in dict.fromkeys(names) if columns[n] in done.columns and done[columns[n]].notna().any()]


def _progress_section(
    root: Root, all_trials: pd.DataFrame, settings: tuple[Setting, ...], about: Study, chosen: int | None
) -> str:
    if not len(finished(all_trials)):
        return ""
    figure = progress_figure(all_trials, settings, _main_objective(about, all_trials))
    made = html.section("progress", "Objective over trials", html.chart(figure, "progress-figure"))
    training = curves_figure(curves(root), chosen, about.tasks) if chosen is not None else None
    if training is not None:
        heading = f"Accuracy during training, trial {chosen}"
        made += html.section("curves", heading, html.chart(training, "curves-figure"))
    return made


def _table_section(found: Front, settings: tuple[Setting, ...]) -> str:
    rows = listed(found)
    if not len(rows):
        return ""
    head, cells = table_cells(found, rows, settings)
    text = "Highest average accuracy first; then the default, if it is not on the front, and the references."
    return html.section("table", "Trials on the front", html.paragraph(text), html.table(head, cells))


def _failed_section(all_trials: pd.DataFrame, settings: tuple[Setting, ...]) -> str:
    failed = all_trials[all_trials["state"] == "failed"]
    if failed.empty:
        return ""
    rows = []
    for _, row in failed.iterrows():
        reason = row["failure"] if not pd.isna(row["failure"]) else "no reason recorded"
        rows.append([trial_name(int(row["trial"])), one_line(str(reason)), settings_text(row, settings)])
    return html.section("failed", "Failed trials", html.table(["trial", "reason", "settings"], rows))
