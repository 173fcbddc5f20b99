"""Export: the model of one confirmed run becomes a bundle."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cfsweep.bundle import Manifest, write
from cfsweep.bundle.writer import refuse_early
from cfsweep.config import StudyConfig
from cfsweep.errors import InputError
from cfsweep.results.reader import committed_file, read_table
from cfsweep.results.schema import MAJORITY, MAJORITY_TRIAL, model_path
from cfsweep.sweeping.confirm import FOLDERS, Purpose
from cfsweep.sweeping.folder import Folder
from cfsweep.sweeping.ground import check_ground
from cfsweep.sweeping.study import at_place_of
from cfsweep.training.pack import Pack
from cfsweep.training.streams import load_stream

BEST = "best"
AVERAGE = "val_average_score"


def export(
    root: Path,
    trial: int,
    seed: str | int,
    to: Path,
    purpose: Purpose = "confirm",
    with_examples: bool = True,
    onnx: bool = False,
    compared: Mapping[str, Sequence[str]] | None = None,
) -> Manifest:
    """Writes the model of `trial` with `seed` (`best`: that with the highest average accuracy on validation data, or,
    of refitted ones, the first), as `cfsweep confirm` has trained it for the sweep in `root`, into the new folder `to`;
    `compared` as for `cfsweep.bundle.card.card`.

    Raises:
        InputError: it was not confirmed, the data has changed, `to` exists, or the program cannot be had as ONNX.
    """
    refuse_early(to, onnx)
    again = "cfsweep confirm" + (" --refit" if purpose == "refit" else "")
    folder, config, about = kept_in(root, FOLDERS[purpose], again)
    if config.space.trainer is not None:
        raise InputError(
            f"{root}: `trainer: {config.space.trainer}` has models of its own, which cfsweep cannot run. "
            "`cfsweep.export_state` gives what it has left."
        )
    if trial == MAJORITY_TRIAL:
        raise InputError(f"--trial {trial}: {MAJORITY} is the constant answer, and has no model. Give another trial.")
    trained, number = run_of(folder.root, config, trial, seed)
    stream = load_stream(config.stream)
    stream = stream.refitted() if purpose == "refit" else stream
    check_ground(config, None, stream, about, folder.study_file)
    path = model_path(folder.root, (trained, number))
    content = committed_file(folder.root, path.relative_to(folder.root).as_posix())
    pack = Pack.restore(content, stream.of_split(config.stream.split_of(number)))
    if pack is None:
        raise InputError(f"{path}: another version of cfsweep wrote it. Confirm the trial again with this one.")
    return write(pack, config, about, to, with_examples, onnx, compared)


def kept_in(root: Path, name: str, again: str) -> tuple[Folder, StudyConfig, dict[str, Any]]:
    """The folder `name` in `root`, where models are kept, its study, and all of its `study.yaml`.

    Raises:
        InputError: there is none, and `again` is the command that makes it.
    """
    folder = Folder(root / name)
    if not folder.exists():
        raise InputError(f"{root}: no model is kept there yet. `{again} {root}` trains and keeps some.")
    config, study = folder.read()
    swept = Folder(root).read()[0]
    return folder, config.model_copy(update={"stream": at_place_of(config.stream, swept.stream)}), study


def run_of(root: Path, config: StudyConfig, trial: int, seed: str | int) -> tuple[int, int]:
    """The run by trial and seed; where the trial equals another one, that one, which was trained.

    Raises:
        InputError: there is none such.
    """
    rows = [row for row in read_table(root, "runs", study_id=config.study_id).to_pylist() if row["state"] == "done"]
    own = {row["seed"]: row for row in rows if row["trial"] == trial}
    if not own:
        known = ", ".join(map(str, sorted({row["trial"] for row in rows} - {MAJORITY_TRIAL})))
        raise InputError(
            f"--trial {trial}: it was not confirmed; {known} were. `cfsweep confirm --trials` trains more."
        )
    if seed == BEST:
        seed = max(sorted(own), key=lambda number: _or_least(own[number][AVERAGE]))
    if not str(seed).isdigit() or int(seed) not in own:
        raise InputError(f"--seed {seed}: `{BEST}` or one of {', '.join(map(str, sorted(own)))} is needed. Give one.")
    first = own[int(seed)]["same_as"]
    return (trial if first is None else int(first)), int(seed)


def _or_least(score: float | None) -> float:
    """A score, of which the lowest may be below 0; the least of all where it has no value.

    >>> _or_least(None) < _or_least(-5.0) < _or_least(0.0)
    True
    """
    return -math.inf if score is None else score
