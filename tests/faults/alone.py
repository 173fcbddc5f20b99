"""What a run comes to that is trained alone in this process: what one of a disturbed sweep must have come to."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from cfsweep.config import StreamConfig, StudyConfig
from cfsweep.results.schema import reference_method
from cfsweep.sweeping.space import check_space
from cfsweep.training.pack import Pack
from cfsweep.training.spec import PackSpec, RunRecord, RunSpec
from cfsweep.training.streams import Stream, load_stream

_KNOWN: dict[str, RunRecord] = {}


@cache
def _stream() -> Stream:
    return load_stream(StreamConfig())


def trained_alone(config: StudyConfig, row: dict[str, Any]) -> RunRecord:
    """The run of this row of `runs`, by its settings and its seed, in a pack of its own."""
    hypers = check_space(config.space, "the study")
    method = reference_method(row["trial"])
    values = {
        name: hyper.default if row[f"hp_{name}"] is None else row[f"hp_{name}"]  # null: it could not act
        for name, hyper in hypers.items()
    }
    names = () if method else config.space.ingredients
    known_by = repr(
        (config.space.network, config.curve_points_per_task, names, method, sorted(values.items()), row["seed"])
    )
    if known_by not in _KNOWN:
        spec = PackSpec(
            config.space.network,
            config.stream.scenario,
            names,
            (RunSpec(0, row["seed"], values),),
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
        (_KNOWN[known_by],) = pack.report().records
    return _KNOWN[known_by]
