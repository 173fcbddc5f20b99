"""A trainer from outside on Ray's workers: they find it in the folder that the command is called in."""

from __future__ import annotations

import pytest
import yaml

from cfsweep.results.reader import read_table
from tests.sweeping.command import Processes, finish

TRAINER = """
from pathlib import Path
import os, tempfile

def train(settings, seed, task, state):
    folder = state or Path(tempfile.mkdtemp())
    (folder / str(task)).write_text(f"{seed} {settings['x']}")
    done = len(list(folder.iterdir()))
    assert done == task + 1
    if settings["x"] > 0.9 and task == 2:
        os._exit(1)  # as where the kernel kills it
    return [settings["x"] * done / 4] * 4, folder
"""


@pytest.mark.slow
def test_workers_find_it_and_give_what_this_process_gives(processes: Processes) -> None:
    (processes.cwd / "mine_on_ray.py").write_text(TRAINER)
    space = {"trainer": "mine_on_ray:train", "search": {"x": {"choices": [0.2, 0.4, 0.6]}}}
    (processes.cwd / "space.yaml").write_text(yaml.safe_dump(space))
    found = {}
    for out, workers in (("ray", "2"), ("here", "0")):
        code, _, complaints = finish(
            processes.start("run", "space.yaml", "--trials", "4", "--workers", workers, "--out", out)
        )
        assert (code, complaints) == (0, "")
        rows = read_table(processes.cwd / out, "runs").to_pylist()
        assert [row["state"] for row in rows].count("done") >= 2
        found[out] = {row["hp_x"]: row["val_average_score"] for row in rows if row["state"] == "done"}
    shared = found["ray"].keys() & found["here"].keys()
    assert shared
    assert all(found["ray"][x] == found["here"][x] == x for x in shared)


@pytest.mark.slow
def test_one_that_kills_its_worker_fails_alone(processes: Processes) -> None:
    (processes.cwd / "mine_on_ray.py").write_text(TRAINER)
    space = {"trainer": "mine_on_ray:train", "search": {"x": {"choices": [1.0, 0.2]}}}
    (processes.cwd / "space.yaml").write_text(yaml.safe_dump(space))
    code, _, _ = finish(processes.start("run", "space.yaml", "--trials", "2", "--workers", "2", "--out", "study"))
    rows = read_table(processes.cwd / "study", "runs").to_pylist()
    assert code == 3
    assert len(rows) == 2
    for row in rows:
        assert row["state"] == ("failed" if row["hp_x"] == 1.0 else "done")
        if row["state"] == "failed":
            assert "died" in row["failure"]
            assert row["tasks_done"] == 2, "what it had done is kept"
