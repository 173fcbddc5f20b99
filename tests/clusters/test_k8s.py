"""The manifest for Kubernetes, against what KubeRay's reference says of a RayJob; no cluster was asked."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cfsweep.clusters.k8s import K8sJob, manifest
from cfsweep.errors import InputError
from tests.clusters.rayjob import RAY_JOB
from tests.conftest import Run

RUN = ("run", "a space.yaml", "--out", "/results/a b")
JOB = K8sJob("me/cfsweep:1", "results-of-mine", 3, 4, 1, "16Gi", "mixed", 5)


def test_it_is_a_ray_job_that_demands_its_token() -> None:
    made = yaml.safe_load(manifest(JOB, RUN, "2.60.0"))
    jsonschema.validate(made, RAY_JOB)
    spec, cluster = made["spec"], made["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"] == "2.60.0"
    expected = ["cfsweep", *RUN, "--workers", "3", "--gpus-per-worker", "1", "--address", "auto"]
    assert shlex.split(spec["entrypoint"]) == expected
    assert (spec["backoffLimit"], spec["shutdownAfterJobFinishes"]) == (5, True)
    (group,) = cluster["workerGroupSpecs"]
    assert [group[name] for name in ("replicas", "minReplicas", "maxReplicas")] == [3, 3, 3]
    (worker,) = group["template"]["spec"]["containers"]
    assert worker["resources"]["limits"] == {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"}
    head = cluster["headGroupSpec"]
    assert head["rayStartParams"] == {"num-cpus": "0"}
    (volume,) = head["template"]["spec"]["volumes"]
    assert volume["persistentVolumeClaim"] == {"claimName": "results-of-mine"}
    assert head["template"]["spec"]["containers"][0]["volumeMounts"] == [{"name": "results", "mountPath": "/results"}]


MUTATIONS: list[Callable[[Any], object]] = [
    lambda job: job.pop("spec"),
    lambda job: job.update(kind="RayCluster"),
    lambda job: job["spec"].update(entryPoint=job["spec"].pop("entrypoint")),
    lambda job: job["spec"]["rayClusterSpec"]["authOptions"].update(mode="on"),
    lambda job: job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
    lambda job: job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0].update(replicas="3"),
    lambda job: job["metadata"].update(name="Mixed_1"),
]


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_schema_can_fail(mutation: Callable[[Any], object]) -> None:
    made = copy.deepcopy(yaml.safe_load(manifest(JOB, RUN, "2.60.0")))
    mutation(made)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(made, RAY_JOB)


@pytest.mark.parametrize(
    ("command", "job", "said"),
    [
        (("front", "/results/a"), JOB, "a command is needed that trains"),
        (("run", "a", "--out", "runs/a"), JOB, "only what lies there outlives the job, but got `runs/a`"),
        (("run", "a", "--out", "/results/../a"), JOB, "but got `/results/../a`"),
        (("resume", "runs/a"), JOB, "but got `runs/a`"),
        (RUN, K8sJob("i", "Claim"), "--claim takes lower-case letters"),
        (RUN, K8sJob("i", "c", name="x" * 43), "--name takes lower-case letters"),
        (RUN, K8sJob("i", "c", name="x\ny"), "--name takes"),
    ],
)
def test_what_cannot_be(command: tuple[str, ...], job: K8sJob, said: str) -> None:
    with pytest.raises(InputError) as caught:
        manifest(job, command, "2.60.0")
    assert said in str(caught.value)


def test_the_command_writes_it(run: Run, tmp_path: Path) -> None:
    code, printed, complaints = run("k8s", "--image", "i", "--claim", "c", "--", "resume", "/results/a")
    assert (code, complaints) == (0, "")
    assert "`kubectl create -f cfsweep-job.yaml` submits it" in printed
    made = yaml.safe_load((tmp_path / "cfsweep-job.yaml").read_text())
    jsonschema.validate(made, RAY_JOB)
    assert made["spec"]["entrypoint"] == "cfsweep resume /results/a --workers 1 --address auto"
    assert made["spec"]["rayClusterSpec"]["rayVersion"] == version("ray")
