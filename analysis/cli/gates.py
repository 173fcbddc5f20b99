"""`gate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from analysis import bundle_gate, study_gate
from analysis.cli.shown import console, table_of
from cfsweep.errors import InputError, few
from cfsweep.metrics.answers import PairedAnswers, PairedScores
from cfsweep.terminal import say

MINIMUM = "For the corrected mean, without an interval."


def gate_command(
    context: typer.Context,
    root: Annotated[str | None, typer.Argument(metavar="DIR", help="A results folder, or a URI.")] = None,
    min_average_score: Annotated[float | None, typer.Option(help=MINIMUM)] = None,
    min_stability: Annotated[float | None, typer.Option(help=MINIMUM)] = None,
    min_plasticity: Annotated[float | None, typer.Option(help=MINIMUM)] = None,
    beats: Annotated[
        str | None, typer.Option(help="default or naive; asks for the whole interval, and takes three seeds.")
    ] = None,
    margin: Annotated[
        float, typer.Option(help="How far above the opponent the interval must lie, with --beats.")
    ] = 0.0,
    champion: Annotated[str | None, typer.Option(help="A bundle, or its URI: the model that is in service.")] = None,
    candidate: Annotated[
        str | None, typer.Option(help="A bundle, or its URI: the one that is to take its place.")
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option(help="The most by which the score of an earlier task may fall, such as 0.02.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Where the data sets lie (default: $CFSWEEP_DATA).")] = None,
    stream: Annotated[
        str | None, typer.Option(help="The candidate's stream, if it is no more where its bundle says.")
    ] = None,
    score: Annotated[
        str | None, typer.Option(help="What is compared (default: what the candidate is scored by).")
    ] = None,
    json: Annotated[
        Path | None, typer.Option(help="A file to write what was found to, for a program.", dir_okay=False)
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run code that a bundle names, wherever it lies: you know its origin.")
    ] = False,
) -> None:
    """Exit with 1 unless a chosen trial, or a new model, holds what is asked.

    DIR: the study's chosen trial, on validation data, luck set aside. A minimum is held against the corrected mean
    alone, without an interval: luck decides about a trial that is truly near it. --beats asks for the whole interval.

    --champion and --candidate: two bundles on the same test examples, task by task. It fails if the candidate's
    score on any task that the champion has learned is lower by more than --max-drop, whatever others gained.
    """
    minima = (min_average_score, min_stability, min_plasticity)
    of_a_study = _given(("DIR", "--min-average-score", "--min-stability", "--min-plasticity"), (root, *minima))
    of_a_study += _given(("--beats", "--margin"), (beats, margin or None))
    names = ("--champion", "--candidate", "--max-drop", "--data", "--stream", "--score")
    of_models = _given(names, (champion, candidate, max_drop, data, stream, score))
    if of_a_study and of_models:
        raise InputError(
            f"gate: it judges the trial of a study or compares two models, but got {few(of_a_study)} and "
            f"{few(of_models)}. Leave out either."
        )
    if of_models:
        if champion is None or candidate is None:
            raise InputError(
                f"gate: two models are compared, but got {few(of_models)}. Give --champion and --candidate."
            )
        bundle_gate.require_max_drop(max_drop)  # before any model is loaded
        _gate_of_models(context.obj, champion, candidate, max_drop, (data, stream, score, trust), json)
        return
    if root is None:
        raise InputError("gate: nothing to judge. Give a results folder, or --champion and --candidate.")
    found = study_gate.judged(root, *minima, beats, margin)
    if json is not None:
        study_gate.write_json(json, root, found)
    for line in study_gate.require_passes(root, found):
        say(line)


def _given(names: Sequence[str], values: Sequence[object]) -> list[str]:
    return [name for name, value in zip(names, values, strict=True) if value is not None]


PairedAnswersOf = Callable[
    [str, str, str | None, str | None, str | None, bool],
    tuple[str, tuple[float, float], list[PairedAnswers | PairedScores], tuple[str, ...]],
]


def _gate_of_models(
    answers_of: PairedAnswersOf | None,  # of the caller, as models take torch
    champion: str,
    candidate: str,
    max_drop: float | None,
    place: tuple[str | None, str | None, str | None, bool],
    json: Path | None,
) -> None:
    if answers_of is None:
        raise InputError("gate: `python -m analysis` loads no models. Run `cfsweep gate` with the same options.")
    found = bundle_gate.judged(*answers_of(champion, candidate, *place), max_drop)
    if json is not None:
        bundle_gate.write_json(json, champion, candidate, found.tasks, found.max_drop, found.score)
    earlier = sum(one.is_earlier for one in found.tasks)
    console(wide=True).print(table_of(bundle_gate.HEADS, found.rows, earlier))
    for line in found.notes:
        say(line)
    say(bundle_gate.require_none_fell(found.tasks, found.max_drop))
