"""What would fail in the workers is told before: one line, and no folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cfsweep.sweeping import try_out
from tests.conftest import Run

NETWORKS = "tests.training.own_networks"
OWN = "tests.sweeping.ingredients"
SPACE = """
network: {{name: "{network}", args: {args}}}
ingredients: {ingredients}
fixed: {{epochs: 2, batch_size: {batch_size}, lr: 0.01}}
search: {search}
"""


def space(
    network: str = "mlp",
    args: str = "{}",
    ingredients: str = "[]",
    batch_size: int = 64,
    search: str = "{weight_decay: {low: 0.0, high: 0.1}}",
) -> str:
    named = network if network == "mlp" else f"{NETWORKS}:{network}"
    return SPACE.format(network=named, args=args, ingredients=ingredients, batch_size=batch_size, search=search)


REFUSED = {
    "the network": (
        space("breaks_in_training"),
        "network `tests.training.own_networks:breaks_in_training` fails on a few examples of the stream "
        "(RuntimeError: not while it trains; training/own_networks.py, line ",
    ),
    "nothing to train": (space("all_frozen"), "the network has no parameter to train"),
    "an ingredient": (
        space(ingredients=f'["{OWN}:Broken", ewc]'),
        f"network `mlp` with `{OWN}:Broken` fails on a few examples of the stream (ValueError: it never works; "
        "sweeping/ingredients.py, line ",
    ),
    "an ingredient on this network": (
        space("batch_norm", "{running: false}", "[replay, ewc]"),
        "network `tests.training.own_networks:batch_norm` with `ewc` fails on a few examples of the stream "
        "(ValueError: Expected more than 1 value per channel when training",
    ),
    "a choice": (
        space(ingredients=f'["{OWN}:Fragile"]', search="{fragile: {choices: [whole, broken]}}"),
        f"with `{OWN}:Fragile` fails on a few examples of the stream (RuntimeError: it is broken",
    ),
    "a lone example": (
        space("batch_norm", batch_size=258),
        "cannot train on a lone example (as batch norm), but task `0, 1` has 259 training examples, so that batches of "
        "258 leave one. Choose another `batch_size`, or change `stream.validation_frac`.",
    ),
    "a lone example of a choice": (
        space("batch_norm", batch_size=64, search="{batch_size: {choices: [64, 258]}}").replace("batch_size: 64, ", ""),
        "so that batches of 258 leave one.",
    ),
    "a lone example of a range": (
        space("batch_norm", search="{batch_size: {low: 250, high: 260}}").replace("batch_size: 64, ", ""),
        "so that batches of 258 leave one.",
    ),
    "a lone example of joint": (
        space("batch_norm", batch_size=11),
        "cannot train on a lone example (as batch norm), but `joint` at task `2, 3` has 518 ",
    ),
    "a lone example of a batch in parts": (
        space("batch_norm").replace("args: {}", "args: {}, micro_batch: 2"),
        "cannot train on a lone example (as batch norm), but micro-batches of `network.micro_batch=2` may hold one. "
        "Set it to 3 or more.",
    ),
}


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize("case", REFUSED)
def test_what_would_fail_is_refused_in_one_line(run: Run, tmp_path: Path, case: str, dry: bool) -> None:
    text, said = REFUSED[case]
    (tmp_path / "space.yaml").write_text(text)
    code, out, complaints = run("run", "space.yaml", "--dry-run" if dry else "--workers=0", "--out", "study")
    assert (code, out) == (2, "")
    assert said in complaints
    assert complaints.count("\n") == 1
    assert not Path("study").exists()


@pytest.mark.parametrize(
    ("network", "args", "batch_size"),
    [
        ("frozen", "{}", 64),
        ("spare", "{}", 258),  # a lone example is none of its troubles
        ("batch_norm", "{}", 64),
        ("batch_norm", "{}", 1000),
        ("recurrent", "{cell: gru}", 64),
    ],
)
def test_what_works_is_none(run: Run, tmp_path: Path, network: str, args: str, batch_size: int) -> None:
    (tmp_path / "space.yaml").write_text(space(network, args, "[ewc, replay, mas, lwf]", batch_size))
    code, out, complaints = run("run", "space.yaml", "--dry-run")
    assert (code, complaints) == (0, "")
    assert f"network            {NETWORKS}:{network}" in out


TRANSFORMS = "tests.training.own_transforms"


@pytest.mark.parametrize(
    ("augment", "said"),
    [
        ("[crop, flop]", "stream `split-digits`: unknown augmentation `flop`. Known, closest first: flip, "),
        (f"{TRANSFORMS}:smaller", f"augment `{TRANSFORMS}:smaller` fails on examples of the stream (augment "),
        (f"[flip, '{TRANSFORMS}:wider']", "must keep shape and type, (1, 8, 8) torch.uint8, but returned (1, 8, 8) "),
        ("[[crop]]", "--set: `stream.augment.0` should be a valid string, but got ['crop']."),
    ],
)
def test_augmentation_that_would_fail_is_refused_in_one_line(run: Run, smoke: Path, augment: str, said: str) -> None:
    code, out, complaints = run("run", smoke, "--workers=0", "--out", "study", "--set", f"stream.augment={augment}")
    assert (code, out) == (2, "")
    assert said in complaints
    assert complaints.count("\n") == 1
    assert not Path("study").exists()


def test_augmentation_is_told_and_its_code_is_on_record(run: Run, smoke: Path, tmp_path: Path) -> None:
    chosen = f"stream.augment=[crop, flip, '{TRANSFORMS}:jitter']"
    code, out, complaints = run("run", smoke, "--dry-run", "--set", chosen)
    assert (code, complaints) == (0, "")
    assert f"augmented by       crop, flip, {TRANSFORMS}:jitter" in out
    assert run("run", smoke, "--workers=0", "--out", "study", "--set", chosen)[0] == 0
    study = yaml.safe_load((tmp_path / "study" / "study.yaml").read_text())
    assert study["config"]["stream"]["augment"] == ["crop", "flip", f"{TRANSFORMS}:jitter"]
    assert "tests/training/own_transforms.py" in study["code_sha256"]


def test_what_is_built_in_is_not_trained(run: Run, smoke: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(try_out, "Pack", lambda *_: pytest.fail("it was trained"))
    code, _, complaints = run("run", smoke, "--dry-run")
    assert (code, complaints) == (0, "")
