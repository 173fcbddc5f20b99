"""What the benchmarks compute beside what they measure: their pure functions show it by example."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

MODULES = (
    *("driver", "sampler", "stopping", "replay", "made_up", "startup", "page"),
    *("peers.job", "peers.processes", "peers.summary", "peers.report"),
)


@pytest.mark.parametrize("name", MODULES)
def test_its_examples_hold(name: str) -> None:
    found = doctest.testmod(import_module(f"benchmarks.{name}"))
    assert not found.failed
