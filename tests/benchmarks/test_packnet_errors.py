"""The mistakes that can be made with PackNet are made, and show."""

from __future__ import annotations

from benchmarks.packnet_errors import VARIANTS, measure
from cfsweep.config import StreamConfig
from cfsweep.training.streams import load_stream


def test_each_mistake_shows_where_it_can() -> None:
    stream = load_stream(StreamConfig())
    found = {name: measure(kind, stream, 1, 0.5, [16]) for name, kind in VARIANTS.items()}
    changed = {name: n for name, (_, _, n) in found.items()}
    assert changed["as in the paper"] == changed["own weights only"] == changed["cut weights move"] == 0
    assert changed["all weights"] > 0
    assert changed["old weights move"] > 0
    assert len({mean for mean, _, _ in found.values()}) == len(VARIANTS)
