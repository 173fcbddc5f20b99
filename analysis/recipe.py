"""A trial as a space file to paste, and the command to run next."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

import pandas as pd
import yaml

from analysis.aggregate import settings_of
from analysis.description import Root, Study
from cfsweep.results.addresses import name_of
from cfsweep.visible import visible

MORE_SEEDS = 10  # at least; enough for an interval that means something
# What goes without saying in a stream; what has no entry here is said in full.
USUAL: Mapping[str, Any] = {
    "class_order": "fixed", "n_tasks": None, "validation_frac": 0.1, "steering_frac": None, "split_seed": 0,
    "splits": 1, "learned": 0, "target": "classification", "scores": [], "positive": None,
    "class_weights": None, "standardise": None, "validation": None, "args": {}, "augment": [], "encoder": None,
    "encoder_args": {},
}  # fmt: skip
_WITH_OPTIONS = ("name", "scenario", "data", "download")  # of a stream, that have options of their own
_NOTED = ("own_data",)  # by cfsweep itself
_EMBEDDED = "split-digits"  # scikit-learn brings its data
_STANDARDISED_ONCE = "scalar"  # in studies that do not say how


class _Dumper(yaml.SafeDumper):
    """PyYAML's, which puts in quotes also what is a number in YAML 1.2 alone, such as the text `1e5`."""


_NUMBER = re.compile(r"^[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^0o[0-7]+$")
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+.0123456789"))


def space_text(about: Study, row: pd.Series) -> str:
    """The trial in `row` (of `analysis.trials`) as a whole space file that searches nothing: trial 0 of it is this one.

    Numbers have all their digits. A setting that is null could not act, and is left out.
    """
    space = _mapping(_mapping(about.raw.get("config")).get("space"))
    fixed = {name: value for name, value in settings_of(row).items() if value is not None}
    lines = [f"description: Trial {int(row['trial'])} of study {visible(about.study_id)}."]
    network = {key: value for key, value in _mapping(space.get("network")).items() if value not in (None, [])}
    own = {"network": network, "ingredients": space.get("ingredients")}
    said = {"trainer": space["trainer"]} if space.get("trainer") else own
    lines += [f"{key}: {_yaml(said[key], flow=True)}" for key in said if key in space]
    return "\n".join([*lines, _yaml({"fixed": fixed})])


def next_command(about: Study, root: Root, trial: int, selected: bool) -> str:
    """What to run next: the selection, or, once `trial` is selected, its training with more seeds.

    The latter reads what `space_text` gives from the file `space_file`.
    """
    if not selected:
        return shlex.join(["cfsweep", "select", str(root)])
    stream = _mapping(_mapping(about.raw.get("config")).get("stream"))
    words = ["cfsweep", "run", space_file(root, trial)]
    data = stream.get("data") if _reads_data_sets(about.stream) else None
    trained_outside = bool(_mapping(_mapping(about.raw.get("config")).get("space")).get("trainer"))
    own = None if trained_outside else about.stream  # a trainer from outside has data of its own
    for option, value in (("stream", own), ("scenario", about.scenario), ("data", data)):
        words += [f"--{option}", str(value)] if value else []
    words += ["--trials", "1", "--seeds", str(max(MORE_SEEDS, 2 * (about.seeds or 1)))]
    said = {"standardise": _STANDARDISED_ONCE, **stream} if stream else {}
    for key, value in said.items():
        if key not in (*_WITH_OPTIONS, *_NOTED) and value != USUAL.get(key, ...):
            words += ["--set", f"stream.{key}={_yaml(value, flow=True)}"]
    return shlex.join(words)


def _reads_data_sets(stream: str) -> bool:
    """Whether a stream looks into the folder of data sets, which a study notes down in any case: what is embedded does
    not, nor does a folder or a function of one's own."""
    return stream != _EMBEDDED and not {"/", ":"} & set(stream)


def space_file(root: Root, trial: int) -> str:
    """What the space file of a trial of the study in `root` is called.

    >>> space_file("runs/demo", 46)
    'demo-trial-46.yaml'
    """
    return f"{name_of(root)}-trial-{trial}.yaml"


def _mapping(content: Any) -> Mapping[str, Any]:
    return content if isinstance(content, Mapping) else {}


def _yaml(content: Any, flow: bool = False) -> str:
    """`content` as YAML; in one line if `flow`."""
    text: str = yaml.dump(
        content, Dumper=_Dumper, default_flow_style=flow, width=float("inf"), sort_keys=False, allow_unicode=True
    )
    return text.removesuffix("...\n").rstrip("\n") if flow else text
