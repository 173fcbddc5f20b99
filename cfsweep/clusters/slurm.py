"""A batch script for Slurm: a Ray over the job's nodes, and a sweep that goes on in the next job where time is up."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from cfsweep.clusters.command import checked, value_of
from cfsweep.errors import InputError

WARN_S = 120  # before the end: a sweep that is interrupted leaves its workers and writes what has ended


@dataclass(frozen=True)
class SlurmJob:
    """What a job takes: so many nodes, processors and GPUs of each, for `time` as Slurm writes it. `more` are further
    options of `sbatch`, such as `--partition=gpu`."""

    nodes: int = 1
    cpus_per_node: int = 1
    gpus_per_node: int = 0
    time: str = "24:00:00"
    name: str = "cfsweep"
    more: tuple[str, ...] = ()


def script(job: SlurmJob, command: Sequence[str], folder: Path) -> str:
    """The batch script that runs `cfsweep` with the arguments `command` in `folder`, which all nodes have.

    Raises:
        InputError: the command does not train or has no folder, or an option would end its line.
    """
    words = checked(command, "cfsweep slurm")
    options = [
        f"--job-name={job.name}",
        f"--nodes={job.nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={job.cpus_per_node}",
        *([f"--gpus-per-node={job.gpus_per_node}"] if job.gpus_per_node else []),
        f"--time={job.time}",
        f"--signal=B:USR1@{WARN_S}",
        "--requeue",
        "--open-mode=append",
        "--output=%x-%j.log",
        *job.more,
    ]
    for option in options:
        if not re.fullmatch(r"--?[A-Za-z][^\s\x00-\x1f\x7f]*", option):
            raise InputError(f"cfsweep slurm: an option of sbatch is --name=value without blanks, but got `{option}`.")
    if value_of(words, "--workers") is None:
        # Not all nodes need be up when the sweep begins.
        words += ["--workers", str(job.nodes * (job.gpus_per_node or job.cpus_per_node))]
    if job.gpus_per_node and value_of(words, "--gpus-per-worker") is None:
        words += ["--gpus-per-worker", "1"]
    content = {
        "SBATCH": "\n".join(f"#SBATCH {option}" for option in options),
        "FOLDER": shlex.quote(str(folder)),
        "PATH": shlex.quote(str(Path(sys.executable).parent)),
        "COMMAND": shlex.join(words),
    }
    text = (files(__package__) / "slurm.sh").read_text()
    return re.sub("@([A-Z]+)@", lambda found: content[found[1]], text)


def submit(path: Path) -> str:
    """Hands the script to Slurm, and gives the number of the job.

    Raises:
        InputError: there is no Slurm here, or it refuses the job.
    """
    try:
        done = subprocess.run(["sbatch", "--parsable", str(path)], capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise InputError("cfsweep slurm: there is no `sbatch` here. Submit the script where Slurm is.") from error
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.split())
        raise InputError(f"cfsweep slurm: Slurm refuses {path} ({said}). Mend its options.") from error
    return done.stdout.strip()
