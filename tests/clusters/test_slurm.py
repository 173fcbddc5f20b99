"""The batch script: what it says, and that a real Slurm runs it, interrupts it, and runs it to its end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cfsweep.clusters.slurm import SlurmJob, script
from cfsweep.errors import InputError
from cfsweep.results.status import status
from tests.clusters.one_node import missing, slurm
from tests.conftest import Run
from tests.sweeping.command import ROOT

RUN = ("run", "a space.yaml", "--out", "runs/$HOME")


def test_it_is_bash_and_asks_for_what_is_said(tmp_path: Path) -> None:
    job = SlurmJob(3, 4, 2, "1:00:00", "x", ("--partition=gpu",))
    folder = tmp_path / "a $(touch pwned) 'b'"
    folder.mkdir()
    text = script(job, RUN, folder)
    lines = [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH")]
    assert {"--nodes=3", "--cpus-per-task=4", "--gpus-per-node=2", "--time=1:00:00", "--partition=gpu"} < set(lines)
    assert {"--requeue", "--signal=B:USR1@120"} < set(lines)
    assert text.startswith("#!/bin/bash\n#SBATCH ")
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    cd = next(line for line in text.splitlines() if line.startswith("cd "))
    done = subprocess.run(["bash", "-c", f"{cd} && pwd"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == f"{folder}\n"
    assert "\ncfsweep run 'a space.yaml' --out 'runs/$HOME' --workers 6 --gpus-per-worker 1 --address \"$ip" in text
    assert "RAY_AUTH_MODE=token" in text
    assert "@" not in text.replace("[@]", "").replace("USR1@", "").replace("$@", "")


def test_what_the_command_says_of_workers_counts() -> None:
    text = script(SlurmJob(2, 4), ("resume", "runs/a", "--workers=3"), Path("/"))
    assert "cfsweep resume runs/a --workers=3 --address" in text
    assert "--workers 8" in script(SlurmJob(2, 4), ("confirm", "runs/a"), Path("/"))


@pytest.mark.parametrize(
    ("command", "job", "said"),
    [
        ((), SlurmJob(), "a command is needed that trains (run, resume, confirm), but got ``"),
        (("report", "runs/a"), SlurmJob(), "but got `report`"),
        (("run", "a"), SlurmJob(), "`run` needs --out"),
        ((*RUN, "--address", "auto"), SlurmJob(), "got --address. Leave it out"),
        ((*RUN, "--insecure"), SlurmJob(), "got --insecure. Leave it out"),
        ((*RUN, "--workers=0"), SlurmJob(), "--workers 0 trains in one process"),
        (RUN, SlurmJob(more=("--comment=a\n#SBATCH --nodes=9",)), "an option of sbatch is --name=value without blanks"),
        (RUN, SlurmJob(more=("partition=gpu",)), "but got `partition=gpu`"),
        (RUN, SlurmJob(time="1 day"), "but got `--time=1 day`"),
    ],
)
def test_what_cannot_be(command: tuple[str, ...], job: SlurmJob, said: str) -> None:
    with pytest.raises(InputError) as caught:
        script(job, command, Path("/"))
    assert said in str(caught.value)


def test_the_command_writes_it_once(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, printed, complaints = run("slurm", "--", *RUN)
    assert (code, complaints) == (0, "")
    assert "`sbatch cfsweep.sbatch` submits it" in printed
    assert f"cd {tmp_path}\n" in (tmp_path / "cfsweep.sbatch").read_text()
    code, _, complaints = run("slurm", "--", *RUN)
    assert code == 2
    assert "cfsweep.sbatch: it exists" in complaints
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, complaints = run("slurm", "--to", "b", "--submit", "--", *RUN)
    assert code == 2
    assert "there is no `sbatch` here" in complaints
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho 'invalid\npartition' >&2; exit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    code, _, complaints = run("slurm", "--to", "c", "--submit", "--", *RUN)
    assert code == 2
    assert "Slurm refuses c (invalid partition)" in complaints


@pytest.mark.slow
def test_a_real_slurm_runs_it_queues_it_again_and_it_goes_on(tmp_path: Path) -> None:
    if (why := missing()) is not None:
        pytest.skip(why)
    out = tmp_path / "study"
    (tmp_path / "slurm").mkdir()
    with slurm(tmp_path / "slurm") as found:
        environment = {**os.environ, **found, "PYTHONPATH": str(ROOT)}

        def call(*command: str | Path) -> str:
            done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
            assert done.returncode == 0, done
            return done.stdout

        few = ("--set", "epochs=40", "--set", "stop_trials=false", "--set", "pack_runs=2", "--trials", "4")
        sweep = ("run", ROOT / "search_spaces" / "smoke.yaml", *few, "--out", out)
        said = call(sys.executable, "-m", "cfsweep.cli", "slurm", "--cpus-per-node", "2", "--submit", "--", *sweep)
        job = said.removeprefix("job ").partition(",")[0]

        def until(state: str) -> None:
            deadline = time.monotonic() + 200
            while f"JobState={state}" not in (shown := call("scontrol", "show", "job", job)):
                assert "JobState=FAILED" not in shown
                assert time.monotonic() < deadline, (shown, *(log.read_text() for log in tmp_path.glob("*.log")))
                time.sleep(0.5)

        until("RUNNING")
        while not list((out / "checkpoints").glob("pack*.pt")):
            until("RUNNING")
        call("scancel", "--batch", "--signal=USR1", job)  # as before the end of its time
        until("PENDING")
        call("scontrol", "update", f"jobid={job}", "StartTime=now")  # it would wait for two minutes
        until("COMPLETED")
    (log,) = tmp_path.glob("cfsweep-*.log")
    text = log.read_text()
    assert f"the time is up; job {job} is queued again, and goes on" in text
    assert "picked up: " in text
    now = status(out)
    assert now.complete
    assert now.done == 4
    assert not Path(f"/tmp/cfsweep-{job}").exists()
