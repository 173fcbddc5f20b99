"""What a run comes to that is trained alone in this process: what one of a disturbed sweep must have come to."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import torch

from cfsweep.config import StreamConfig, StudyConfig
from cfsweep.results.schema import reference_method
from cfsweep.sweeping.references import BASE
from cfsweep.sweeping.rows import Ended, StudyTables
from cfsweep.sweeping.space import check_space
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackReport, PackSpec, RunRecord, RunSpec
from cfsweep.training.streams import Stream, load_stream
from cfsweep.training.targets import scores_of

_KNOWN: dict[str, PackReport] = {}


@cache
def _stream() -> Stream:
    return load_stream(StreamConfig())


def trained_alone(config: StudyConfig, row: dict[str, Any]) -> tuple[RunRecord, dict[str, Any]]:
    """The run of this row of `runs`, by its settings and its seed, in a pack of its own; and the row that it gets."""
    hypers = check_space(config.space, "the study")
    method = reference_method(row["trial"])
    values = {
        name: hyper.default if row[f"hp_{name}"] is None else row[f"hp_{name}"]  # null: it could not act
        for name, hyper in hypers.items()
        if method is None or name in BASE  # a reference has no others
    }
    names = () if method else config.space.ingredients
    report = _trained(config, names, method or "", values, row["seed"])
    record = replace(report.records[0], trial=row["trial"])
    tables = StudyTables(config, hypers, [score.name for score in scores_of(_stream())])
    ended = Ended("done", record, row["method"], names, values, row["attempt"], row["started_at"])
    return record, tables.rows(report, [ended])["runs"][0]


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
