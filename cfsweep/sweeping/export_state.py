"""Export from a trainer outside: what one confirmed run has come to, as the trainer itself has left it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cfsweep.bundle.writer import refuse_early
from cfsweep.errors import InputError, not_written
from cfsweep.results.reader import committed_file
from cfsweep.results.schema import model_path
from cfsweep.sweeping.confirm import FOLDERS
from cfsweep.sweeping.export import kept_in, run_of
from cfsweep.training.outside import read_checkpoint, score_returned, unpack

RUN, STATE = "run.json", "state"


def export_state(root: Path, trial: int, seed: str | int, to: Path) -> dict[str, Any]:
    """What is known of the run of `trial` with `seed` (`best`: that with the highest average accuracy on validation
    data) that `cfsweep confirm` has trained for the sweep in `root`; it and the run's last state are written into the
    new folder `to`, as `run.json` and `state`, a file or a folder, as the trainer has returned it.

    Raises:
        InputError: it was not confirmed, its trainer has returned no last state, or `to` exists.
    """
    refuse_early(to, onnx=False)
    folder, config, about = kept_in(root, FOLDERS["confirm"], "cfsweep confirm")
    trained, number = run_of(folder.root, config, trial, seed)
    path = model_path(folder.root, (trained, number))
    head, state = read_checkpoint(committed_file(folder.root, path.relative_to(folder.root).as_posix()))
    if state.kind == "none":
        raise InputError(
            f"--trial {trial}: its trainer returned no state after the last task, so nothing is kept of it. Return it, "
            "in a new study."
        )
    record, (run,) = head["record"], head["spec"]["runs"]
    said = {
        "study_id": config.study_id,
        "trainer": config.space.trainer,
        "code_sha256": about["code_sha256"],
        "trial": trained,
        "seed": number,
        "settings": run["values"],
        "tasks": [task["name"] for task in about["tasks"]],
        "score": score_returned(str(config.space.trainer), config.stream.scores).name,
        "scores": {part: record[part][-1] for part in config.parts},
    }
    try:
        to.mkdir(parents=True)
        if state.kind == "bytes":
            (to / STATE).write_bytes(state.content)
        else:
            unpack(state, to / STATE)
        (to / RUN).write_text(json.dumps(said, indent=2) + "\n")
    except OSError as error:
        raise not_written(error) from error
    return said
