"""What a run comes to that is trained alone in this process: what one of a disturbed sweep must have come to."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import torch

from cfsweep.config import StreamConfig, StudyConfig
from cfsweep.results.schema import MAJORITY, reference_method
from cfsweep.sweeping.references import BASE, majority_report
from cfsweep.sweeping.rows import Ended, StudyTables
from cfsweep.sweeping.space import check_space
from cfsweep.training.constant_answer import constant_answer
from cfsweep.training.pack import Pack, example_counts
from cfsweep.training.spec import PackReport, PackSpec, RunSpec
from cfsweep.training.streams import Stream, load_stream
from cfsweep.training.targets import scores_of

_KNOWN: dict[str, PackReport] = {}


@cache
def _stream() -> Stream:
    return load_stream(StreamConfig())


def trained_alone(config: StudyConfig, row: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """All rows, by table, of the run of this row of `runs`, which is trained by its settings and its seed in a pack of
    its own; `majority` is computed."""
    hypers = check_space(config.space, "the study")
    method = reference_method(row["trial"])
    values = {
        name: hyper.default if row[f"hp_{name}"] is None else row[f"hp_{name}"]  # null: it could not act
        for name, hyper in hypers.items()
        if method is None or (name in BASE and method != MAJORITY)  # a reference has no others
    }
    names = () if method else config.space.ingredients
    if method == MAJORITY:
        constant = constant_answer(_stream(), config.stream.scenario, config.parts)
        report = majority_report([constant], [row["seed"]], example_counts(_stream()))
    else:
        report = _trained(config, names, method or "", values, row["seed"])
    record = replace(report.records[0], trial=row["trial"])
    tables = StudyTables(config, hypers, [score.name for score in scores_of(_stream())])
    ended = Ended("done", record, row["method"], names, values, row["attempt"], row["started_at"])
    return tables.rows(report, [ended])


def _trained(config: StudyConfig, names: tuple[str, ...], method: str, values: dict[str, Any], seed: int) -> PackReport:
    known_by = repr((config.space.network, config.curve_points_per_task, names, method, sorted(values.items()), seed))
    if known_by not in _KNOWN:
        spec = PackSpec(
            config.space.network,
            config.stream.scenario,
            names,
            (RunSpec(0, seed, values),),
            joint=method == "joint",
            curve_points_per_task=config.curve_points_per_task,
            parts=config.parts,
        )
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as a worker has
        try:
            pack = Pack(spec, _stream(), torch.device("cpu"))
            while not pack.done:
                pack.train_next_task()
        finally:
            torch.set_num_threads(threads)
        _KNOWN[known_by] = pack.report()
    return _KNOWN[known_by]
