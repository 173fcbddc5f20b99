"""cluster.yaml against Ray's own schema, and against what we promise of it. Offline: no cloud is asked anything."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

Config = dict[str, Any]

GPU_INSTANCE = re.compile(r"^(p\d|g\d|trn|inf)")


@pytest.fixture(scope="module")
def written(project_root: Path) -> Config:
    loaded: Config = yaml.safe_load((project_root / "cluster.yaml").read_text())
    return loaded


@pytest.fixture(scope="module")
def pinned_ray(project_root: Path) -> str:
    pins = re.findall(r"^ray==(\S+)$", (project_root / "constraints.txt").read_text(), re.MULTILINE)
    assert len(pins) == 1
    return str(pins[0])


def prepared(config: Config) -> Config:
    """`config` with Ray's defaults for AWS filled in, as `ray up` would use it."""
    full: Config = prepare_config(copy.deepcopy(config))
    validate_config(full)
    return full


def commands(config: Config) -> list[str]:
    keys = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")
    return [command for key in keys for command in config[key]]


def start(config: Config, role: str) -> str:
    """The one command that starts Ray on a `head` or a `worker`."""
    (command,) = [c for c in config[f"{role}_start_ray_commands"] if "ray start" in c]
    return str(command)


def workers(config: Config) -> list[Config]:
    return [node for name, node in config["available_node_types"].items() if name != config["head_node_type"]]


def check_ray_is_pinned(config: Config, version: str) -> None:
    installs = [c for c in commands(config) if re.search(r"\bray(\[|==|@| )", c.replace("/home/ray", ""))]
    assert installs
    assert all(f"]=={version}" in c and "--constraint" in c for c in installs)
    for image in ("head_image", "worker_image"):
        assert config["docker"][image].startswith(f"rayproject/ray:{version}-py311")


def check_no_nightly(config: Config, version: str) -> None:
    text = " ".join([*commands(config), *map(str, config["docker"].values())])
    assert not re.search(r"nightly|latest|\.whl|dev0|://", text)


def check_dashboard_on_loopback(config: Config, version: str) -> None:
    assert "--dashboard-host=127.0.0.1" in start(config, "head").split()
    assert not any("0.0.0.0" in c for c in config["head_start_ray_commands"] + config["worker_start_ray_commands"])


def check_token_everywhere(config: Config, version: str) -> None:
    for role in ("head", "worker"):
        before, _, _ = start(config, role).partition("ray start")
        assert "export RAY_AUTH_MODE=token;" in before
    assert "--env RAY_AUTH_MODE=token" in config["docker"]["run_options"]
    (where,) = [o.partition("=")[2] for o in config["docker"]["run_options"] if "RAY_AUTH_TOKEN_PATH" in o]
    assert config["file_mounts"][where] == "~/.ray/auth_token"
    assert "RAY_AUTH_TOKEN=" not in str(config)  # the token itself is never written here


def check_head_has_no_gpu(config: Config, version: str) -> None:
    head = config["available_node_types"][config["head_node_type"]]
    assert not GPU_INSTANCE.match(head["node_config"]["InstanceType"])
    assert not head["resources"].get("GPU")
    assert "gpu" not in config["docker"]["head_image"]


def check_gpu_workers_from_zero(config: Config, version: str) -> None:
    assert workers(config)
    for node in workers(config):
        assert node["min_workers"] == 0 < node["max_workers"] <= config["max_workers"]
        assert GPU_INSTANCE.match(node["node_config"]["InstanceType"])
        assert node["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
    assert config["idle_timeout_minutes"] <= 15


def check_cfsweep_is_installed_with_its_constraints(config: Config, version: str) -> None:
    assert any(re.search(r"pip install --constraint ~/cfsweep/constraints.txt ~/cfsweep$", c) for c in commands(config))


CHECKS: dict[str, Callable[[Config, str], None]] = {
    name.removeprefix("check_"): check
    for name, check in sorted(globals().items())
    if name.startswith("check_") and callable(check)
}


def test_ray_accepts_it(written: Config) -> None:
    prepared(written)


@pytest.mark.parametrize("check", CHECKS)
def test_it_keeps_its_promise(check: str, written: Config, pinned_ray: str) -> None:
    CHECKS[check](prepared(written), pinned_ray)


def test_what_it_copies_is_there(written: Config, project_root: Path) -> None:
    here = [path for path in written["file_mounts"].values() if not path.startswith("~")]
    assert {"./cfsweep", "./analysis", "./search_spaces", "./pyproject.toml", "./constraints.txt"} <= set(here)
    assert [path for path in here if not (project_root / path).exists()] == []


def edit(*path: str | int, to: object) -> Callable[[Config], None]:
    """An edit that sets the value at `path`; the last step may be a new key."""

    def apply(config: Config) -> None:
        place: Any = config
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = to

    return apply


def drop(key: str) -> Callable[[Config], None]:
    """An edit that removes a key, so that Ray's own default for AWS takes its place."""
    return lambda config: config.pop(key)


WORKER = ("available_node_types", "gpu_worker")
MUTATIONS: list[tuple[str, Callable[[Config], None]]] = [
    ("ray_is_pinned", edit("setup_commands", 0, to='pip install "ray[default]==2.0.0"')),
    ("ray_is_pinned", edit("docker", "worker_image", to="rayproject/ray:2.0.0-py311-gpu")),
    ("ray_is_pinned", drop("setup_commands")),
    ("no_nightly", drop("setup_commands")),
    ("no_nightly", edit("docker", "head_image", to="rayproject/ray:nightly-py311-cpu")),
    ("dashboard_on_loopback", drop("head_start_ray_commands")),
    ("dashboard_on_loopback", edit("head_start_ray_commands", 1, to="ray start --head")),
    ("token_everywhere", drop("head_start_ray_commands")),
    ("token_everywhere", drop("worker_start_ray_commands")),
    ("token_everywhere", edit("file_mounts", "/home/ray/auth/token", to="./token")),
    ("token_everywhere", edit("docker", "run_options", to=["--env RAY_AUTH_TOKEN_PATH=/home/ray/auth/token"])),
    ("head_has_no_gpu", edit("available_node_types", "head", "node_config", "InstanceType", to="g5.xlarge")),
    ("head_has_no_gpu", edit("available_node_types", "head", "resources", to={"GPU": 1})),
    ("gpu_workers_from_zero", edit(*WORKER, "min_workers", to=1)),
    ("gpu_workers_from_zero", edit(*WORKER, "node_config", "InstanceMarketOptions", "MarketType", to="on-demand")),
    ("gpu_workers_from_zero", edit(*WORKER, "node_config", "InstanceType", to="m6i.xlarge")),
    ("cfsweep_is_installed_with_its_constraints", edit("setup_commands", 1, to="pip install ~/cfsweep")),
]


@pytest.mark.parametrize(("check", "mutate"), MUTATIONS, ids=[f"{i}-{name}" for i, (name, _) in enumerate(MUTATIONS)])
def test_a_broken_promise_is_noticed(
    check: str, mutate: Callable[[Config], None], written: Config, pinned_ray: str
) -> None:
    config = copy.deepcopy(written)
    mutate(config)
    with pytest.raises((AssertionError, KeyError, ValueError)):
        CHECKS[check](prepared(config), pinned_ray)


def test_every_check_has_a_mutation() -> None:
    assert {name for name, _ in MUTATIONS} == set(CHECKS)


@pytest.mark.parametrize(
    "mutate",
    [edit("max_worker", to=8), edit("idle_timeout_minutes", to="soon"), edit("head_node_type", to="boss")],
    ids=["an unknown key", "a wrong type", "no such node type"],
)
def test_ray_refuses(mutate: Callable[[Config], None], written: Config) -> None:
    config = copy.deepcopy(written)
    mutate(config)
    with pytest.raises((jsonschema.ValidationError, ValueError)):
        prepared(config)
