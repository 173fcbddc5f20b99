"""A manifest for Kubernetes: a RayJob of KubeRay's (1.5.1 or newer), which brings up a Ray and runs a sweep on it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import yaml

from cfsweep.clusters.command import checked, value_of
from cfsweep.errors import InputError

RESULTS = "/results"  # where the claim is mounted on the head, the only writer of results
NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?")


@dataclass(frozen=True)
class K8sJob:
    """What a job takes: `workers` pods with so many processors, GPUs and so much memory each, from an `image` that has
    cfsweep, and the claim of a volume for the results. It is begun again up to `retries` times, and goes on."""

    image: str
    claim: str
    workers: int = 1
    cpus_per_worker: int = 1
    gpus_per_worker: int = 0
    memory: str = "8Gi"
    name: str = "cfsweep"
    retries: int = 3


def manifest(job: K8sJob, command: Sequence[str], ray_version: str) -> str:
    """The RayJob, as YAML, that runs `cfsweep` with the arguments `command`.

    Raises:
        InputError: the command does not train, a name is none in Kubernetes, or the results would not outlive the job.
    """
    words = checked(command, "cfsweep k8s")
    for option, name in (("--name", job.name), ("--claim", job.claim)):
        if not NAME.fullmatch(name):
            raise InputError(
                f"cfsweep k8s: {option} takes lower-case letters, digits and dashes, 42 at most, but got `{name}`."
            )
    folder = value_of(words, "--out") or (words[1] if len(words) > 1 and words[0] != "run" else "")
    place = PurePosixPath(folder)
    if PurePosixPath(RESULTS) not in place.parents or ".." in place.parts:
        raise InputError(
            f"cfsweep k8s: the claim is mounted at {RESULTS}, and only what lies there outlives the job, but got "
            f"`{folder}`. Name a folder such as {RESULTS}/mixed."
        )
    if value_of(words, "--workers") is None:
        words += ["--workers", str(job.workers * (job.gpus_per_worker or job.cpus_per_worker))]
    if job.gpus_per_worker and value_of(words, "--gpus-per-worker") is None:
        words += ["--gpus-per-worker", "1"]
    shown: str = yaml.safe_dump(_ray_job(job, ["cfsweep", *words, "--address", "auto"], ray_version), sort_keys=False)
    return shown


def _ray_job(job: K8sJob, entrypoint: list[str], ray_version: str) -> dict[str, Any]:
    results = {"name": "results", "persistentVolumeClaim": {"claimName": job.claim}}
    mounted = {"volumeMounts": [{"name": "results", "mountPath": RESULTS}]}
    worker: dict[str, Any] = {"cpu": str(job.cpus_per_worker), "memory": job.memory}
    if job.gpus_per_worker:
        worker["nvidia.com/gpu"] = str(job.gpus_per_worker)
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": job.name},
        "spec": {
            "entrypoint": shlex.join(entrypoint),
            "backoffLimit": job.retries,
            "shutdownAfterJobFinishes": True,
            "rayClusterSpec": {
                "rayVersion": ray_version,
                "authOptions": {"mode": "token"},  # the operator makes one, and gives it to these pods alone
                "headGroupSpec": {
                    "rayStartParams": {"num-cpus": "0"},  # no training here: it must stay responsive
                    "template": _pod("ray-head", job.image, {"cpu": "2", "memory": job.memory}, [results], mounted),
                },
                "workerGroupSpecs": [
                    {
                        "groupName": "workers",
                        "replicas": job.workers,
                        "minReplicas": job.workers,
                        "maxReplicas": job.workers,
                        "rayStartParams": {},
                        "template": _pod("ray-worker", job.image, worker, [], {}),
                    }
                ],
            },
        },
    }


def _pod(name: str, image: str, takes: dict[str, Any], volumes: list[Any], more: dict[str, Any]) -> dict[str, Any]:
    container = {"name": name, "image": image, "resources": {"requests": takes, "limits": {**takes}}, **more}
    return {"spec": {"containers": [container], **({"volumes": volumes} if volumes else {})}}
