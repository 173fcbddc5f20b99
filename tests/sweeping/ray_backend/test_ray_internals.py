"""What cfsweep uses of Ray beyond its public interface is there, and does what `ray_internals` needs.

Where a newer version fails here, the text says what has moved and where to look.
"""

from __future__ import annotations

import inspect
import os
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray
from ray import _raylet
from ray._private import accelerators, process_watcher, ray_constants, services, worker
from ray._private.node import Node
from ray.air.execution._internal import RayActorManager
from ray.tune import Trainable
from ray.tune.execution import class_cache

from cfsweep.sweeping.ray_backend.ray_internals import (
    ACTORS,
    LISTENER,
    MAKES_FOLDER,
    MOST_PENDING,
    NEEDLESS_PROCESSES,
    ON_A_NETWORK,
    RAYLETS_LOG,
    REUSE,
    SAYS_ITS_END,
    agents_end_with_raylet,
    authenticated,
    bare_node,
    dead_processes,
    drop_environments_of_trials,
    gpus_here,
    has_token,
    new_workers_kept,
    on_loopback,
    require_listener,
    session_folder,
    silent_driver,
    workers_that_load,
)
from tests.sweeping.ray_backend.scenarios import Terminated


def moved(name: str, owner: object, needed_by: str) -> str:
    return (
        f"Ray {ray.__version__}: `{name}` is not what it was. `{needed_by}` in "
        f"cfsweep/sweeping/ray_backend/ray_internals.py needs it; look in {inspect.getsourcefile(owner)}."  # type: ignore[arg-type]
    )


# ------------------------------------------------------------------------------------------------ a node


@pytest.mark.parametrize("name", NEEDLESS_PROCESSES)
def test_a_node_starts_each_needless_process_by_a_method_of_its_own(name: str) -> None:
    method = getattr(Node, name, None)
    assert method is not None, moved(name, Node, "bare_node")
    kinds = [p.kind for p in list(inspect.signature(method).parameters.values())[1:]]
    assert set(kinds) <= {inspect.Parameter.KEYWORD_ONLY}, moved(name, Node, "bare_node (its stand-in takes keywords)")
    started = inspect.getsource(Node.start_head_processes) + inspect.getsource(Node.start_ray_processes)
    assert f"self.{name}(" in started, moved(name, Node, "bare_node")
    with bare_node():
        assert getattr(Node, name) is not method
        assert getattr(Node, name)(None) is None
    assert getattr(Node, name) is method


def test_a_bare_node_is_two_processes(terminated: Terminated) -> None:
    names = sorted(command.split()[0].rpartition("/")[2] for command in terminated.children)
    assert names == ["gcs_server", "raylet"], moved(f"what starts {names}", Node, "NEEDLESS_PROCESSES")


def test_a_node_knows_which_of_its_processes_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hasattr(worker, "_global_node"), moved("_global_node", worker, "dead_processes")
    assert hasattr(Node, "dead_processes"), moved("dead_processes", Node, "dead_processes")
    monkeypatch.setattr(worker, "_global_node", None)
    assert dead_processes() == {}
    node = Node.__new__(Node)
    with subprocess.Popen(["sleep", "100"]) as lives, subprocess.Popen(["false"]) as ended:
        ended.wait()
        node.all_processes = {
            name: [services.ProcessInfo(process, *[None] * (len(services.ProcessInfo._fields) - 1))]
            for name, process in (("gcs_server", lives), ("raylet", ended))
        }
        monkeypatch.setattr(worker, "_global_node", node)
        assert dead_processes() == {"raylet": 1}, moved("dead_processes", Node, "dead_processes")
        lives.kill()


def test_a_node_makes_its_folder_before_its_processes() -> None:
    what = moved(MAKES_FOLDER, Node, "told_of_session")
    assert hasattr(Node, MAKES_FOLDER), what
    source = inspect.getsource(Node.__init__)
    assert 0 < source.index(f"self.{MAKES_FOLDER}(") < source.index("self.start_head_processes("), what
    assert "try_to_create_directory(self._session_dir)" in inspect.getsource(getattr(Node, MAKES_FOLDER)), what


def test_a_node_on_loopback_has_its_address() -> None:
    what = moved(ON_A_NETWORK, ray_constants, "on_loopback")
    before = getattr(ray_constants, ON_A_NETWORK, None)
    assert before is not None, what
    with on_loopback():
        assert services.get_node_ip_address() == "127.0.0.1", what
    assert getattr(ray_constants, ON_A_NETWORK) == before


def test_a_node_says_where_its_files_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_global_node", None)
    assert session_folder() is None
    node = Node.__new__(Node)
    node._session_dir = "/tmp/ray/session_x"
    monkeypatch.setattr(worker, "_global_node", node)
    assert session_folder() == Path("/tmp/ray/session_x"), moved("get_session_dir_path", Node, "session_folder")


def test_agents_look_into_the_raylets_log(tmp_path: Path) -> None:
    what = moved("report_raylet_error_logs", process_watcher, "agents_end_with_raylet")
    (tmp_path / "logs").mkdir()
    agents_end_with_raylet(tmp_path)
    assert process_watcher.report_raylet_error_logs(str(tmp_path / "logs"), None) is None, what  # asks no GCS
    source = inspect.getsource(process_watcher.report_raylet_error_logs)
    assert f'"{RAYLETS_LOG}"' in source, what
    assert f'"{SAYS_ITS_END}"' in source, what


def test_how_a_process_authenticates_is_in_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "")
    monkeypatch.setenv("HOME", "/nowhere")
    modes = _raylet.AuthenticationMode
    with authenticated(RAY_AUTH_MODE="disabled"):
        assert _raylet.get_authentication_mode() == modes.DISABLED, moved("Config", ray, "authenticated")
        assert not has_token()
        with authenticated(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="a" * 64):
            assert _raylet.get_authentication_mode() == modes.TOKEN, moved("Config", ray, "authenticated")
            assert has_token(), moved("AuthenticationTokenLoader", ray, "has_token")
        assert _raylet.get_authentication_mode() == modes.DISABLED
        assert not has_token()
    assert "RAY_AUTH_TOKEN" not in os.environ


def test_each_worker_loads_the_module_as_it_starts(terminated: Terminated) -> None:
    assert workers_that_load("a.b") == {"_system_config": {"preload_python_modules": ["a.b"]}}
    loaded = [worker["modules"] for worker in terminated.workers]  # nobody else imports that one; and no Optuna
    assert loaded == [["cfsweep.sweeping.ray_backend.preload"]] * 2, moved(
        "preload_python_modules", ray.init, "workers_that_load"
    )


def test_workers_have_the_environment_of_the_sweep(terminated: Terminated) -> None:
    expected = {"MKL_CBWR": "AUTO,STRICT", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    assert all(expected.items() <= worker["environment"].items() for worker in terminated.workers)


# ------------------------------------------------------------------------------------------------ Tune's actors


def test_an_actor_of_tune_has_no_environment_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, kind in (("DEFAULT_ENV_VARS", dict), ("ENV_VARS_TO_PROPAGATE", set)):
        assert isinstance(getattr(class_cache, name, None), kind), moved(
            name, class_cache, "drop_environments_of_trials"
        )
        monkeypatch.setattr(class_cache, name, getattr(class_cache, name))
    monkeypatch.setattr(os, "environ", {**os.environ, "AWS_SESSION_TOKEN": "x"})
    monkeypatch.setattr(class_cache.os, "environ", os.environ)
    drop_environments_of_trials()
    assert os.environ["PL_DISABLE_FORK"] == "1", "the workers inherit from this process what Tune would have given them"
    actor = class_cache._ActorClassCache().get(Trainable)
    given = actor._default_options.get("runtime_env")
    assert given in (None, {}, {"env_vars": {}}), moved("_ActorClassCache", class_cache, "drop_environments_of_trials")


# ------------------------------------------------------------------------------------------------ this machine


def test_gpus_are_those_that_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = accelerators.get_accelerator_manager_for_resource("GPU")
    assert manager is not None, moved("get_accelerator_manager_for_resource", accelerators, "gpus_here")
    for visible, expected in (("", 0), ("0", 1), ("0,2", 2)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert gpus_here() == expected, moved("get_current_process_visible_accelerator_ids", manager, "gpus_here")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(manager, "get_current_node_num_accelerators", staticmethod(lambda: 3))
    assert gpus_here() == 3


def test_an_address_is_knocked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    what = moved("canonicalize_bootstrap_address", services, "require_listener")
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}", f"localhost:{port}"):
            require_listener(address)
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        require_listener("auto")
    with pytest.raises(OSError, match="refused"):
        require_listener(f"127.0.0.1:{port}")
    with pytest.raises(ValueError, match="Invalid address"):
        require_listener("here")
    monkeypatch.setattr(services, "get_ray_address_from_environment", lambda *args: None)
    with pytest.raises(ValueError, match="no cluster was started on this machine"):
        require_listener("auto")
    assert services.canonicalize_bootstrap_address("auto") is None, what


def test_what_the_driver_prints_of_rays_processes_is_left_out() -> None:
    method = getattr(worker, LISTENER, None)
    assert method is not None, moved(LISTENER, worker, "silent_driver")
    assert f"target={LISTENER}" in inspect.getsource(worker.connect), moved(LISTENER, worker, "silent_driver")
    with silent_driver():
        assert getattr(worker, LISTENER) is not method
        assert getattr(worker, LISTENER)(None, None) is None
    assert getattr(worker, LISTENER) is method


def test_a_worker_on_its_way_is_kept_and_what_is_free_goes_to_another_pack(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.tune.execution.tune_controller import TuneController

    reused: list[str] = []
    monkeypatch.setattr(TuneController, REUSE, lambda controller, trial: reused.append(trial.trial_id))
    waiting, new = (SimpleNamespace(trial_id=name, status="PENDING") for name in ("waiting", "new"))

    controller = SimpleNamespace(_trial_to_actor=[waiting], **{ACTORS: SimpleNamespace(num_live_actors=2)})
    before = os.environ.get(MOST_PENDING)
    for seconds, room, expected in ((60.0, 3, ["new"]), (0.0, 3, ["waiting", "new"]), (60.0, 2, ["waiting", "new"])):
        reused.clear()
        with new_workers_kept(seconds, lambda room=room: room):  # type: ignore[misc]
            for trial in (waiting, new):
                getattr(TuneController, REUSE)(controller, trial)
        assert reused == expected
    assert os.environ.get(MOST_PENDING) == before


def test_where_tune_reuses_its_actors() -> None:
    """What has moved in another version: then a new worker is ended on its way again."""
    from ray.tune.execution.tune_controller import TuneController

    assert callable(getattr(TuneController, REUSE))
    begins = inspect.getsource(TuneController.__init__)
    assert "_trial_to_actor" in begins
    assert f"self.{ACTORS} = RayActorManager(" in begins
    assert isinstance(RayActorManager.num_live_actors, property)
