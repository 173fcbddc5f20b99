"""The examples where the training happens: made once for the packs that follow one another."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import torch

from cfsweep.config import StreamConfig
from cfsweep.training.engine.store import Store, store_on
from cfsweep.training.streams import load_stream

CPU = torch.device("cpu")


def test_one_store_serves_a_stream_as_long_as_no_other_one_comes() -> None:
    stream = load_stream(StreamConfig(name="split-digits"))
    other = replace(stream, x=stream.x + 1)
    first = store_on(CPU, stream)
    assert store_on(CPU, stream) is first
    assert torch.equal(first.x, Store(stream, CPU).x)
    assert torch.equal(store_on(CPU, other).x, Store(other, CPU).x)
    assert store_on(CPU, stream) is not first


def test_a_store_does_not_keep_its_stream_alive() -> None:
    stream = load_stream(StreamConfig(name="split-digits"))
    seen = weakref.ref(stream)
    store_on(CPU, stream)
    del stream
    gc.collect()
    assert seen() is None


def test_examples_that_are_augmented_stay_as_they_are_and_are_normalised_as_the_others() -> None:
    stream = load_stream(StreamConfig(name="split-digits", standardise="feature"))
    augmented = replace(stream, augment=("flip",))
    plain, raw = store_on(CPU, stream), store_on(CPU, augmented)
    some = torch.arange(40).view(2, 20)
    assert raw.x is stream.x
    assert torch.equal(raw.kept(some), stream.x[some])
    assert torch.equal(raw[some], plain[some])
    assert torch.equal(raw.seen(raw.kept(some)), plain[some])
    again = store_on(CPU, replace(stream))  # not what lies there unnormalised
    assert torch.equal(again[some], plain[some])
