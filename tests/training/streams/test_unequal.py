"""Tasks of unequal size and unequal sets of labels, of one class alone among them, as a table and as a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cfsweep.config import SCENARIOS, Scenario, StreamConfig
from cfsweep.testing import finish, make_pack
from cfsweep.training.streams import Stream, load_stream

# The labels of each task, its number of rows, and by scenario which outputs are active for each task after the last
# one. In domain-il, where no two tasks share a class, an output is a class's place within its task.
SHARED = (("ab", "b", "abd"), (60, 20, 47), {"task-il": ["110", "010", "111"], "class-il": ["111"] * 3})
DISJOINT = (("a", "bcd", "ef"), (20, 90, 41), {"task-il": ["100000", "011100", "000011"], "class-il": ["111111"] * 3})


def frames(labels: tuple[str, ...], sizes: tuple[int, ...]) -> list[pd.DataFrame]:
    found = []
    for k, (own, n) in enumerate(zip(labels, sizes, strict=True)):
        y = np.array(list(own))[np.arange(n) % len(own)]
        x = np.random.default_rng(k).normal(size=(n, 3)) + np.array([ord(c) for c in y])[:, None]
        found.append(pd.DataFrame(x, columns=list("pqr")).assign(y=y, t=f"t{k}"))
    return found


def loaded(folder: Path, kind: str, tasks: list[pd.DataFrame], scenario: Scenario) -> Stream:
    args: dict[str, Any] = {}
    if kind == "table":
        path, args = folder / "t.csv", {"target": "y", "task": "t"}
        pd.concat(tasks).to_csv(path, index=False)
    else:
        path = folder
        for k, frame in enumerate(tasks):
            frame.drop(columns="t").to_parquet(folder / f"t{k}.parquet", index=False)
    return load_stream(StreamConfig(name=str(path), args=args, scenario=scenario, validation_frac=0.2))


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("case", [SHARED, DISJOINT], ids=["shared", "disjoint"])
@pytest.mark.parametrize("kind", ["table", "folder"])
def test_each_task_has_its_own_rows_and_classes_and_is_learned_among_these(
    tmp_path: Path, kind: str, case: tuple[tuple[str, ...], tuple[int, ...], dict[str, list[str]]], scenario: Scenario
) -> None:
    labels, sizes, active = case
    tasks = frames(labels, sizes)
    stream = loaded(tmp_path, kind, tasks, scenario)
    named = sorted(set("".join(labels)))
    assert stream.class_ids == tuple(named)
    for task, own, frame in zip(stream.tasks, labels, tasks, strict=True):
        assert task.classes == tuple(named.index(label) for label in own)
        found = {part: pd.Series(stream.user_labels(rows)).value_counts() for part, rows in task.parts.items()}
        for label, n in frame["y"].value_counts().items():
            test = int(n / 5 + 0.5)
            held_out = int((n - test) / 5 + 0.5)
            wanted = {"train": n - test - held_out, "steering": 0, "validation": held_out, "test": test}
            assert {part: found[part].get(label, 0) for part in wanted} == wanted
    pack = finish(make_pack(stream, ("replay", "ewc"), scenario=scenario, epochs=2, replay_buffer=20))
    outputs = pack.context.outputs
    wanted_masks = active.get(scenario, ["111"] * 3)
    assert ["".join(map(str, row)) for row in outputs.masks[2].int().tolist()] == wanted_masks
    record = pack.records[0]
    assert record.failure is None
    assert np.isfinite(record.test).all()
    if scenario == "task-il":
        alone = [k for k, own in enumerate(labels) if len(own) == 1]
        assert all(row[k] == 1 for row in record.test for k in alone), "there is but one answer"
