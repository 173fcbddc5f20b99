"""The part of a RayJob's schema that cfsweep uses, written by hand from KubeRay's API reference (v1.5.1 to v1.7.1):
nothing else may stand in a manifest of ours. It is not the definition that a cluster has."""

from __future__ import annotations

from typing import Any


def record(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
NAMED = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}  # ray start takes its parameters as text
QUANTITY = {"type": "string", "pattern": r"^[0-9.]+(m|[KMGTPE]i?)?$"}
QUANTITIES = {"type": "object", "additionalProperties": QUANTITY}
CONTAINER = record(
    ("name", "image"),
    name=NAMED,
    image=TEXT,
    resources=record((), requests=QUANTITIES, limits=QUANTITIES),
    volumeMounts={"type": "array", "items": record(("name", "mountPath"), name=NAMED, mountPath=TEXT)},
)
VOLUME = record(("name",), name=NAMED, persistentVolumeClaim=record(("claimName",), claimName=NAMED))
POD = record(
    ("spec",),
    spec=record(
        ("containers",),
        containers={"type": "array", "minItems": 1, "items": CONTAINER},
        volumes={"type": "array", "items": VOLUME},
    ),
)
HEAD = record(("rayStartParams", "template"), rayStartParams=TEXTS, template=POD)
WORKERS = record(
    ("groupName", "rayStartParams", "template", "minReplicas", "maxReplicas"),
    groupName=NAMED,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    rayStartParams=TEXTS,
    template=POD,
)
CLUSTER = record(
    ("headGroupSpec",),
    rayVersion=TEXT,
    authOptions=record((), mode={"enum": ["disabled", "token"]}),
    headGroupSpec=HEAD,
    workerGroupSpecs={"type": "array", "items": WORKERS},
)
RAY_JOB = record(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=record(("name",), name={**NAMED, "maxLength": 47}),
    spec=record(
        ("entrypoint", "rayClusterSpec"),
        entrypoint=TEXT,
        backoffLimit=COUNT,
        shutdownAfterJobFinishes={"type": "boolean"},
        rayClusterSpec=CLUSTER,
    ),
)
