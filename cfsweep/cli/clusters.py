"""`cfsweep slurm` and `cfsweep k8s`: a sweep as a job of a batch system."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from cfsweep.terminal import Terminal

CommandArgument = Annotated[
    list[str], typer.Argument(help="What runs there, after `--`: run SPACE --out DIR …", metavar="-- COMMAND")
]
ToOption = Annotated[Path, typer.Option(help="The file to write; it must not exist.", metavar="FILE")]


def slurm(
    command: CommandArgument,
    to: ToOption = Path("cfsweep.sbatch"),
    nodes: Annotated[int, typer.Option(help="Nodes of the job.", min=1, metavar="N")] = 1,
    cpus_per_node: Annotated[int, typer.Option(help="Processors of each node.", min=1, metavar="N")] = 1,
    gpus_per_node: Annotated[int, typer.Option(help="GPUs of each node.", min=0, metavar="N")] = 0,
    time: Annotated[str, typer.Option(help="When it is up, the job is queued again, and goes on.")] = "24:00:00",
    name: Annotated[str, typer.Option(help="The job's name.")] = "cfsweep",
    sbatch: Annotated[
        list[str] | None, typer.Option(help="Another option of sbatch, such as --sbatch=--partition=gpu; any number.")
    ] = None,
    submit: Annotated[bool, typer.Option("--submit", help="Hand it to Slurm, too.")] = False,
) -> None:
    """Write a batch script for Slurm that runs a sweep on all nodes of a job, and goes on in the next where time is
    up."""
    from cfsweep.clusters import slurm as batch
    from cfsweep.clusters.command import write

    job = batch.SlurmJob(nodes, cpus_per_node, gpus_per_node, time, name, tuple(sbatch or ()))
    write(batch.script(job, command, Path.cwd()), to)
    if submit:
        Terminal().say(f"job {batch.submit(to)}, by {to}")
    else:
        Terminal().say(f"written; `sbatch {to}` submits it")


def k8s(
    command: CommandArgument,
    image: Annotated[str, typer.Option(help="A container image with Ray and cfsweep.")],
    claim: Annotated[str, typer.Option(help="The volume claim for the results, mounted at /results.")],
    to: ToOption = Path("cfsweep-job.yaml"),
    workers: Annotated[int, typer.Option("--pods", help="Pods that train.", min=1, metavar="N")] = 1,
    cpus_per_worker: Annotated[int, typer.Option("--cpus-per-pod", help="Processors of each.", min=1, metavar="N")] = 1,
    gpus_per_worker: Annotated[int, typer.Option("--gpus-per-pod", help="GPUs of each.", min=0, metavar="N")] = 0,
    memory: Annotated[str, typer.Option(help="Memory of each, as Kubernetes writes it.")] = "8Gi",
    name: Annotated[str, typer.Option(help="The job's name.")] = "cfsweep",
    retries: Annotated[int, typer.Option(help="How often it is begun again, to go on.", min=0, metavar="N")] = 3,
) -> None:
    """Write a manifest for Kubernetes: a RayJob (of KubeRay) that runs a sweep."""
    from cfsweep.clusters.command import write
    from cfsweep.clusters.k8s import K8sJob, manifest

    job = K8sJob(image, claim, workers, cpus_per_worker, gpus_per_worker, memory, name, retries)
    write(manifest(job, command, version("ray")), to)
    Terminal().say(f"written; `kubectl create -f {to}` submits it")
