"""Real sweeps by the real command line, on real Ray (`scenarios`): begun, gone on with, interrupted, killed, and on a
cluster of two nodes."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import optuna
import pyarrow.parquet as pq
import pytest
import torch

from cfsweep.results.addresses import in_command
from cfsweep.results.reader import read_table
from cfsweep.results.schema import ACCURACY_SCHEMA, MAJORITY_TRIAL
from cfsweep.results.status import Status, status
from cfsweep.sweeping.folder import Folder
from cfsweep.sweeping.interrupt import SAID
from cfsweep.training.pack import Pack
from cfsweep.training.streams import Stream
from tests.conftest import Run
from tests.sweeping.command import SECRETS, Processes, finish, new_checkpoints, until
from tests.sweeping.in_process import Sweep
from tests.sweeping.ray_backend.scenarios import CONFIRM, SLOW, SMOKE, Confirmed, OnCluster, Terminated, Whole


def check_complete(folder: Path, trials: int, first: int = -2) -> Status:
    """That the study is whole: each trial and reference once, in Parquet and in Optuna alike."""
    now = status(folder)
    assert now.complete
    runs = read_table(folder, "runs").to_pylist()
    constant = [MAJORITY_TRIAL] if first < 0 else []
    assert sorted(row["trial"] for row in runs) == [*constant, *range(first, trials)]
    accuracy = read_table(folder, "accuracy")
    assert accuracy.schema.equals(ACCURACY_SCHEMA)
    assert accuracy.num_rows == sum((row["tasks_done"] + 1) * 5 for row in runs)  # the untrained network, and T tasks
    config, _ = Folder(folder).read()
    backend = optuna.storages.journal.JournalFileBackend(str(folder / "journal.jsonl"))
    study = optuna.load_study(study_name=config.study_id, storage=optuna.storages.JournalStorage(backend))
    states = {"done": "COMPLETE", "stopped": "PRUNED", "failed": "FAIL"}
    told = {trial.number: trial.state.name for trial in study.trials}
    assert told == {row["trial"]: states[row["state"]] for row in runs if row["trial"] >= 0}
    assert list((folder / "checkpoints").iterdir()) == []
    return now


def contents(folder: Path, pattern: str = "**/*") -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.glob(pattern) if path.is_file()}


def rows_of(
    folder: Path, tables: tuple[str, ...] = ("runs", "accuracy", "curves", "buffers")
) -> dict[str, list[dict[str, Any]]]:
    """All that a study has found, in a fixed order, but times and what else its processes held in memory."""
    found, chance = {}, ("train_s", "started_at", "peak_bytes")
    for table in tables:
        rows = read_table(folder, table).to_pylist()
        kept = [{k: v for k, v in row.items() if k not in chance} for row in rows]
        assert kept, table
        found[table] = sorted(kept, key=lambda row: json.dumps(row, sort_keys=True))
    return found


def test_a_sweep_from_begin_to_end(whole: Whole, run: Run) -> None:
    assert (whole.code, whole.complaints) == (0, "")
    assert check_complete(whole.out, 4).done == 4
    assert "4/4 trials: 4 done, 0 stopped, 0 failed, best mixed 0." in whole.printed
    assert f"cfsweep report {in_command(whole.out)}" in whole.printed
    for part in whole.out.glob("*/*.parquet"):
        assert pq.read_schema(part).metadata[b"cfsweep_schema_version"] == b"2"

    before = contents(whole.out)
    code, printed, complaints = run(*whole.study, "--out", whole.out, "--workers", "0")
    assert (code, complaints) == (0, "")
    assert "the study is complete: 4 trials ended" in printed
    assert contents(whole.out) == before


def test_it_gives_what_it_gives_in_this_process(whole: Whole, run: Run, tmp_path: Path, stream: Stream) -> None:
    """And a worker has trained the first task of all runs once."""
    here, steps = tmp_path / "here", [len(whole.log.read_text())]
    assert run(*whole.study, "--workers", "0", "--out", here)[0] == 0
    steps.append(len(whole.log.read_text()))
    assert steps[1] - steps[0] == whole.n_steps
    assert rows_of(whole.out) == rows_of(here)
    runs = rows_of(here)["runs"]
    assert {row["method"] for row in runs} == {"ewc+++replay", "naive", "joint", "majority"}
    assert len({row["hp_ewcpp_lambda"] for row in runs}) == 4 + 1

    config, _ = Folder(here).read()
    apart, on_ray = Sweep(tmp_path / "apart", stream), Sweep(whole.out, stream)
    apart.train(apart.open(config.model_copy(update={"share_prefix": False}), workers=1))
    steps.append(len(whole.log.read_text()))
    assert apart.matrices() == on_ray.matrices()
    assert on_ray.rows("test") == []
    assert [row["steps"] for row in apart.rows()] == [row["steps"] for row in on_ray.rows()]
    assert run(*whole.study, "--dry-run")[0] == 0
    tried = len(whole.log.read_text()) - steps[2]  # before each of the sweeps, on a few examples
    # Of four runs in two packs, one has trained the first task; and of the two references, one.
    together, each_alone = whole.n_steps - tried, steps[2] - steps[1]
    assert each_alone - together == (3 + 1) * (len(stream.tasks[0].train) // 64)


def test_what_is_confirmed_on_ray_is_what_is_confirmed_in_this_process(
    confirmed: Confirmed, run: Run, tmp_path: Path, stream: Stream
) -> None:
    """Rows, and the models, which workers leave at the broker."""
    assert (confirmed.code, confirmed.complaints) == (0, "")
    assert "fresh seeds say" in confirmed.printed
    here = Path(shutil.copytree(confirmed.swept, tmp_path / "study"))
    assert run("confirm", here, *CONFIRM, "--workers", "0")[0] == 0
    there = confirmed.out / "confirmed"
    assert status(there).complete
    tables = ("runs", "accuracy", "test", "buffers")
    assert rows_of(there, tables) == rows_of(here / "confirmed", tables)
    names = sorted(f"trial{trial}-seed{seed}.pt" for trial in range(-2, 2) for seed in (10_000, 10_001))
    models = [{path.name: path for path in (of / "models").iterdir()} for of in (there, here / "confirmed")]
    assert [sorted(of) for of in models] == [names, names]
    for name in names:
        one, other = (Pack.restore(of[name].read_bytes(), stream) for of in models)
        assert one is not None
        assert other is not None
        assert torch.equal(one.stack.theta, other.stack.theta)
        assert one.records[0].test == other.records[0].test
        assert len(one.records[0].test) == 6


def test_terminated_then_killed_then_completed(terminated: Terminated, run: Run, tmp_path: Path) -> None:
    assert (terminated.code, terminated.complaints) == (130, SAID.decode())
    assert terminated.seconds_to_end < 15
    assert f"interrupted. `cfsweep resume {terminated.out}` goes on." in terminated.printed
    assert not status(terminated.out).complete

    out = Path(shutil.copytree(terminated.killed, tmp_path / "study"))
    assert not status(out).complete
    with Folder(out).locked():
        code, _, complaints = run("resume", out, "--trust")
    assert code == 2
    assert complaints == f"cfsweep: {out}: another cfsweep is writing to this study. Wait for it, or stop it.\n"
    # What workers of Ray left, this process goes on with.
    code, _, complaints = run("resume", out, "--trust", "--workers", "0")
    assert (code, complaints) == (0, "")
    assert check_complete(out, 4).done == 4


def test_it_listens_on_loopback_alone(terminated: Terminated) -> None:
    who = {name for _, _, name in terminated.listening}
    assert {"driver", "gcs_server", "raylet"} < who
    assert len([name for name in who if name.startswith("ray::")]) >= 2  # agents, workers, the broker
    assert {address for address, _, _ in terminated.listening} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_no_secret_of_its_environment_is_in_a_file(terminated: Terminated) -> None:
    """Nor the token of its Ray, which is none that the environment gave."""
    (token,) = terminated.tokens
    assert token not in SECRETS.values()
    assert len(token) == 64
    assert terminated.leaks == []


def test_nothing_of_ray_is_left_of_a_sweep_that_ended_nor_lives_on_after_one_that_was_killed(
    terminated: Terminated,
) -> None:
    (session,) = terminated.sessions
    assert terminated.living_on == {}
    (left,) = terminated.left  # of the one that was killed: the next one removes it
    assert left != session


@pytest.mark.slow
def test_interrupted_then_completed(processes: Processes, tmp_path: Path) -> None:
    out = tmp_path / "study"
    process = processes.start("run", SMOKE, *SLOW, "--out", out)
    until(new_checkpoints(out), process)
    process.send_signal(signal.SIGINT)
    code, printed, complaints = finish(process, 30)
    assert (code, complaints) == (130, SAID.decode())
    assert f"interrupted. `cfsweep resume {out}` goes on." in printed
    assert not status(out).complete
    code, _, complaints = finish(processes.start("resume", out))
    assert (code, complaints) == (0, "")
    assert check_complete(out, 4).done == 4


def test_the_stream_is_in_memory_once_for_all_workers_of_a_machine(terminated: Terminated, stream: Stream) -> None:
    one, other = terminated.workers
    assert one["pid"] != other["pid"]
    assert one["streams"] == other["streams"]  # the same bytes of the same file of memory, under two processes
    (places,) = one["streams"]
    for name, total in (("x", stream.x.sum()), ("y", stream.y.sum())):
        path, inode, _, content = places[name]
        assert "plasma" in path[0]
        assert inode != "0"
        assert content == int(total)


def test_a_cluster_of_two_nodes_and_a_killed_worker(
    on_cluster: OnCluster, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(on_cluster.raylets) == 2
    assert (on_cluster.code, on_cluster.complaints) == (0, "")
    assert on_cluster.seen == on_cluster.raylets  # packs were trained under the raylets of both nodes
    assert on_cluster.killed
    out = Path(shutil.copytree(on_cluster.out, tmp_path / "study"))
    assert check_complete(out, 4, first=0).done == 4
    assert {row["attempt"] for row in read_table(out, "runs").to_pylist()} == {1, 2}

    before = contents(out, "*/*.parquet")
    monkeypatch.chdir(on_cluster.folder)
    code, _, complaints = run("resume", out, "--trials", "+1", "--workers", "0")
    assert (code, complaints) == (0, "")
    check_complete(out, 5, first=0)
    assert {path: path.read_bytes() for path in before} == before


def test_a_cluster_without_code_of_ones_own(on_cluster: OnCluster) -> None:
    assert (on_cluster.plain.code, on_cluster.plain.complaints) == (0, "")
    assert check_complete(on_cluster.plain.out, 1, first=0).done == 1


def test_a_cluster_does_not_take_another_token(on_cluster: OnCluster) -> None:
    assert on_cluster.strange.code == 2
    assert on_cluster.strange.complaints.startswith("cfsweep: --address ")
    assert "the cluster wants a token, and not that in " in on_cluster.strange.complaints
    assert on_cluster.strange.complaints.count("\n") == 1
    assert not on_cluster.strange.out.exists()


def test_a_clusters_workers_are_sent_the_users_own_code(on_cluster: OnCluster) -> None:
    """Who would not have found it in any folder of theirs."""
    rows = read_table(on_cluster.out, "runs").to_pylist()
    assert {row["method"] for row in rows} == {"placed"}
    for place in (json.loads(row["penalty_convention"]) for row in rows):
        assert place["pid"] != on_cluster.driver
        for file, its_name in ((place["ingredient"], "mine.py"), (place["network"], "small.py")):
            assert "py_modules_files" in Path(file).parts
            assert Path(file).name == its_name
    left = {path.name for path in on_cluster.folder.iterdir()}
    assert left - {"__pycache__"} == {"mine.py", "mynets", "space.yaml"}


def test_nothing_is_imported_from_a_results_folder_by_its_workers(
    run: Run, smoke: Path, tmp_path: Path, processes: Processes
) -> None:
    """Where a sweep goes on in the folder itself, which came from anywhere: Ray looks for modules there."""
    study = ("--trials", "1", "--set", "epochs=1", "--set", "references=false")
    assert run("run", smoke, *study, "--workers", "0", "--out", tmp_path / "out")[0] == 0
    for name in ("sitecustomize", "pyarrow", "optuna", "pandas", "torch"):
        (tmp_path / "out" / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    resume = ("resume", ".", "--trials", "+1", "--workers", "1")
    process = processes.start(*resume, cwd=tmp_path / "out", program=("-P", "-m", "cfsweep.cli"))
    code, _, complaints = finish(process)
    assert (code, complaints) == (0, "")
    assert not (tmp_path / "executed").exists()
