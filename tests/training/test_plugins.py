"""What installed packages bring: found by the names of their entry points, and imported when it is used."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from cfsweep.config import NetworkConfig, StreamConfig
from cfsweep.errors import InputError
from cfsweep.testing import finish, make_pack, small_stream
from cfsweep.training.ingredients import _own_class, hypers_of, ingredient_class, registry
from cfsweep.training.listing import listed
from cfsweep.training.networks import build
from cfsweep.training.plugins import current_folder_importable, installed, path_of
from cfsweep.training.streams import load_stream
from cfsweep.training.targets import Target, checked_target, target_of
from cfsweep.training.targets.classification import Classification

PACKAGE = """
import numpy as np
from torch import nn

from cfsweep.training.ingredients.l2_sp import L2SP
from cfsweep.training.targets.classification import Classification

class Pull(L2SP):
    \"\"\"Pulls.\"\"\"
    name = "pull"
    summary = "pulls back"

class Label(Classification):
    \"\"\"Labels.\"\"\"
    name = "label"

def net(input_shape, n_outputs, width=3):
    \"\"\"A narrow one.\"\"\"
    return nn.Sequential(nn.Flatten(), nn.Linear(36, width), nn.Linear(width, n_outputs))

def tasks(n_tasks=2):
    \"\"\"Noise.\"\"\"
    rng = np.random.default_rng(0)

    def pair(task, n):
        return rng.normal(size=(n, 3)).astype("f"), np.arange(n) % 2 + 2 * task

    return [(pair(task, 40), pair(task, 8)) for task in range(n_tasks)]
"""
ENTRY_POINTS = [
    ("my-pull", "cfsweep_fake_package:Pull", "ingredients"),
    ("my-net", "cfsweep_fake_package:net", "networks"),
    ("my-tasks", "cfsweep_fake_package:tasks", "streams"),
    ("my-label", "cfsweep_fake_package:Label", "targets"),
    *(("my-broken", "cfsweep_fake_broken:Thing", group) for group in ("ingredients", "networks", "streams", "targets")),
]


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package with an entry point in each group, and one that cannot be imported."""
    (tmp_path / "cfsweep_fake_package.py").write_text(PACKAGE)
    (tmp_path / "cfsweep_fake_broken.py").write_text("raise RuntimeError('no such luck\\nsecond line')\n")
    monkeypatch.syspath_prepend(tmp_path)
    points = [metadata.EntryPoint(name, value, f"cfsweep.{group}") for name, value, group in ENTRY_POINTS]
    monkeypatch.setattr(
        "cfsweep.training.plugins.metadata.entry_points", lambda group: [p for p in points if p.group == group]
    )
    for cached in (installed, _own_class):
        cached.cache_clear()
    yield
    for cached in (installed, _own_class):
        cached.cache_clear()
    for module in ("cfsweep_fake_package", "cfsweep_fake_broken"):
        sys.modules.pop(module, None)


def test_names_of_entry_points_stand_for_their_paths() -> None:
    assert installed("networks") == {"my-net": "cfsweep_fake_package:net", "my-broken": "cfsweep_fake_broken:Thing"}
    assert path_of("networks", "my-net") == "cfsweep_fake_package:net"
    assert path_of("networks", "some.module:net") == "some.module:net"
    assert path_of("networks", "my-tasks") is None, "that is a stream"
    assert "cfsweep_fake_package" not in sys.modules, "nothing is imported before its use"


def test_an_ingredient_trains_under_the_name_of_its_entry_point() -> None:
    kind = ingredient_class("my-pull")
    assert kind.name == "pull"
    assert "l2_sp_lambda" in hypers_of(["my-pull"])
    pack = finish(make_pack(small_stream(), ("my-pull",), network=NetworkConfig(name="my-net", args={"width": 4})))
    assert pack.records[0].failure is None
    assert pack.spec.method == "pull"
    assert pack.context.layout.size == 36 * 4 + 4 + 4 * 6 + 6
    assert "cfsweep_fake_broken" not in sys.modules


def test_a_network_a_stream_and_a_target_are_found_by_name() -> None:
    assert build(NetworkConfig(name="my-net"), (36,), 2)(small_stream().x[:5]).shape == (5, 2)
    stream = load_stream(StreamConfig(name="my-tasks", args={"n_tasks": 3}))
    assert [task.classes for task in stream.tasks] == [(0, 1), (2, 3), (4, 5)]
    assert target_of("my-label").name == "label"
    assert "cfsweep_fake_broken" not in sys.modules


def test_one_that_cannot_be_imported_is_named_when_it_is_used() -> None:
    uses = (
        lambda: ingredient_class("my-broken", "space.yaml"),
        lambda: build(NetworkConfig(name="my-broken"), (36,), 2),
        lambda: load_stream(StreamConfig(name="my-broken")),
        lambda: target_of("my-broken"),
    )
    for use in uses:
        with pytest.raises(
            InputError, match=r"`my-broken`: importing `cfsweep_fake_broken` failed .RuntimeError: no such"
        ) as caught:
            use()
        assert "\n" not in str(caught.value)


def test_a_name_that_is_built_in_stays_the_built_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    point = metadata.EntryPoint("ewc", "cfsweep_fake_package:Pull", "cfsweep.ingredients")
    monkeypatch.setattr("cfsweep.training.plugins.metadata.entry_points", lambda group: [point])
    assert ingredient_class("ewc") is registry["ewc"]
    said = "cannot be used: `ewc` is built in. Give the entry point cfsweep_fake_package:Pull another name."
    assert [line for name, line in listed("ingredients") if name == "ewc"][1:] == [said]


def test_what_is_defined_within_a_function_is_refused() -> None:
    with pytest.raises(InputError, match=r"`f\.<locals>\.Mine` is defined within a function. Define it at the top of"):
        ingredient_class("my_package.mine:f.<locals>.Mine")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("Partial", {"predict": Target.predict}, "Partial must have predict, but lacks it. Define it."),
        ("Scoreless", {"scores": ()}, "Scoreless must have a score, but `scores` is empty. Give it one."),
    ],
)
def test_a_target_that_is_not_whole_is_refused_in_one_line(name: str, content: dict[str, object], said: str) -> None:
    kind = type(name, (Classification,), content)
    with pytest.raises(InputError, match=f"^stream: target `x`: {re.escape(said)}$"):
        checked_target(kind, "stream: target `x`")


def test_an_unknown_name_lists_the_installed_ones_too() -> None:
    uses = (
        (lambda: ingredient_class("my-pul"), "unknown ingredient `my-pul`. Known, closest first: my-pull"),
        (
            lambda: build(NetworkConfig(name="my-nets"), (36,), 2),
            "unknown network `my-nets`. Known, closest first: my-net",
        ),
        (lambda: load_stream(StreamConfig(name="my-task")), "unknown stream `my-task`. Known, closest first: my-tasks"),
        (lambda: target_of("my-labels"), "unknown target `my-labels`. Known, closest first: my-label"),
    )
    for use, said in uses:
        with pytest.raises(InputError, match=said):
            use()


def test_all_of_them_are_listed_with_the_reason_where_one_cannot_be_used() -> None:
    for group, name, line in (
        ("ingredients", "my-pull", "pulls back; l2_sp_lambda=0.1; keeps old weights"),
        ("networks", "my-net", "A narrow one. (cfsweep_fake_package:net)"),
        ("streams", "my-tasks", "Noise. (cfsweep_fake_package:tasks)"),
        ("targets", "my-label", "Labels. (cfsweep_fake_package:Label)"),
    ):
        lines = dict(listed(group))
        assert lines[name] == line
        assert lines["my-broken"].startswith("cannot be used: ")
        assert "RuntimeError: no such luck" in lines["my-broken"]
        assert len(lines) > 2, "the built-in ones come first"


def test_an_import_in_another_thread_meanwhile_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([RuntimeError("dictionary changed size during iteration"), None])

    def once_disturbed() -> None:
        if error := next(answers):
            raise error

    monkeypatch.setattr(importlib, "invalidate_caches", once_disturbed)
    with current_folder_importable():
        assert next(answers, "none left") == "none left"

    def always_disturbed() -> None:
        raise RuntimeError("of another kind")

    monkeypatch.setattr(importlib, "invalidate_caches", always_disturbed)
    before = list(sys.path)
    with pytest.raises(RuntimeError, match="of another kind"), current_folder_importable():
        pass
    assert sys.path == before
