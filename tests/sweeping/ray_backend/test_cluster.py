"""How many workers there are, and what a cluster is told of the user's code. (Ray that is up: `test_sweeps`.)"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from cfsweep.errors import InputError
from cfsweep.sweeping.ray_backend import cluster
from cfsweep.sweeping.ray_backend.cluster import (
    connect,
    connected_beside,
    own_code,
    refuse_missing_gpus,
    worker_resources,
    workers_here,
)
from cfsweep.sweeping.ray_backend.scheduler import RayScheduler
from cfsweep.sweeping.scheduler import Workers


def test_gpus_that_are_not_there() -> None:
    with pytest.raises(InputError, match="--gpus-per-worker 1: this machine has 0 GPUs"):
        refuse_missing_gpus(Workers(gpus_each=1.0), {"CPU": 2.0})
    refuse_missing_gpus(Workers(gpus_each=1.0, address="auto"), {"CPU": 2.0})  # the cluster may bring them up
    refuse_missing_gpus(Workers(), {"CPU": 2.0})


def test_a_cluster_that_is_followed_is_counted_in_what_its_workers_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """That a node with a GPU joins makes no place of a processor one of a GPU."""
    here = {"CPU": 8.0}
    monkeypatch.setattr("ray.cluster_resources", lambda: here)
    up: Any = None
    scheduler = RayScheduler(Workers(address="host:6379"), up)
    assert (scheduler.follows, scheduler.room()) == (True, 8)
    here |= {"CPU": 24.0, "GPU": 1.0}
    scheduler.looked_at = float("-inf")
    assert scheduler.room() == 24


def test_as_many_workers_as_fit_unless_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert worker_resources(Workers(gpus_each=0.5), {"CPU": 3.0, "GPU": 4.0}) == (3, {"CPU": 1, "GPU": 0.5})
    assert worker_resources(Workers(5), {"CPU": 2.0}) == (5, {"CPU": 1})
    assert worker_resources(Workers(), {}) == (1, {"CPU": 1}), "a cluster whose workers are still to come"
    monkeypatch.setattr(cluster, "cpus", lambda: 6)
    for gpus, workers in ((0, 6), (2, 2)):
        monkeypatch.setattr(cluster, "gpus_here", lambda gpus=gpus: gpus)
        assert workers_here(Workers()) == workers


@pytest.mark.parametrize("code", [[], ["own_net.py"]])
def test_a_cluster_is_told_of_own_code_if_there_is_any(code: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray takes an empty list of modules, and then starts no worker."""
    told: dict[str, Any] = {}
    monkeypatch.setattr(cluster, "own_code", lambda *folders: [Path(file) for file in code])
    monkeypatch.setattr("ray.init", lambda **options: told.update(options))
    cluster.connect(Workers(address="host:1"))
    assert told["address"] == "host:1"
    assert told["runtime_env"].get("py_modules") == (code or None)
    assert told["runtime_env"]["env_vars"]["OMP_NUM_THREADS"] == "1"


def test_own_code_that_cannot_be_sent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(**options: Any) -> None:
        raise RuntimeError("too large")

    monkeypatch.setattr(cluster, "own_code", lambda *folders: [Path("mine")])
    monkeypatch.setattr("ray.init", fails)
    with pytest.raises(InputError, match=r"^--address host:1: .* your code \(mine\) could not be sent \(too large\)"):
        cluster.connect(Workers(address="host:1"))


def test_own_code_that_is_too_large_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(**options: Any) -> None:
        raise ray.exceptions.RuntimeEnvSetupError("Package size (572.21MiB) exceeds the maximum size of 512.00MiB.")

    monkeypatch.setattr(cluster, "own_code", lambda *folders: [Path("mine")])
    monkeypatch.setattr("ray.init", fails)
    said = r"^--address host:1: your code \(mine\) could not be sent \(.*572.21MiB.* Keep data out of it"
    with pytest.raises(InputError, match=said):
        cluster.connect(Workers(address="host:1"))


# ------------------------------------------------------------------------------------------------ own code


@pytest.fixture
def imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Imports modules that lie under a folder; afterwards nobody knows of them."""

    def act(folder: Path, *names: str) -> None:
        monkeypatch.syspath_prepend(folder)
        for name in names:
            importlib.import_module(name)

    yield act
    for name in [name for name in sys.modules if name.startswith("own_")]:
        del sys.modules[name]


def write(folder: Path, *files: str) -> None:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("")


def test_what_was_imported_from_the_folder_is_sent_whole(tmp_path: Path, imports: Callable[..., None]) -> None:
    write(tmp_path, "own_net.py", "own_pkg/__init__.py", "own_pkg/deep/__init__.py", "own_pkg/deep/er.py")
    write(tmp_path, "own_spaced/remedy.py", "never_imported.py", "notes.txt")
    imports(tmp_path, "own_net", "own_pkg.deep.er", "own_spaced.remedy")
    assert own_code(tmp_path) == [tmp_path / "own_net.py", tmp_path / "own_pkg", tmp_path / "own_spaced"]


def test_code_elsewhere_is_not(tmp_path: Path, imports: Callable[..., None]) -> None:
    write(tmp_path, "here/own_a.py", "here/src/own_c/own_c/__init__.py", "there/own_b.py")
    imports(tmp_path / "here", "own_a")
    imports(tmp_path / "here" / "src" / "own_c", "own_c")  # on the path by a folder further down
    imports(tmp_path / "there", "own_b")
    assert own_code(tmp_path / "here") == [tmp_path / "here" / file for file in ("own_a.py", "src/own_c/own_c")]


def test_what_pythonpath_names_is_sent_too(
    tmp_path: Path, imports: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "here/own_a.py", "beside/own_b/__init__.py", "there/own_c.py")
    for folder, name in (("here", "own_a"), ("beside", "own_b"), ("there", "own_c")):
        imports(tmp_path / folder, name)
    told: dict[str, Any] = {}
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'beside'}:")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("ray.init", lambda **options: told.update(options))
    cluster.connect(Workers(address="host:1"))
    code = {Path(path).relative_to(tmp_path).as_posix() for path in told["runtime_env"]["py_modules"]}
    assert {"here/own_a.py", "beside/own_b"} <= code
    assert "there/own_c.py" not in code


def test_what_is_installed_below_the_folder_is_not(tmp_path: Path, imports: Callable[..., None]) -> None:
    write(tmp_path, ".venv/lib/site-packages/own_c/__init__.py", "dist-packages/own_d.py")
    imports(tmp_path / ".venv" / "lib" / "site-packages", "own_c")
    imports(tmp_path / "dist-packages", "own_d")
    assert own_code(tmp_path) == []


def test_python_itself_may_lie_below_the_folder(imports: Callable[..., None]) -> None:
    """As in a home that holds an installation of Python: hundreds of modules that nobody wants to send."""
    home = Path(json.__file__).parents[3]
    assert json.__name__ not in {path.stem for path in own_code(home)}
    assert not {path.stem for path in own_code(home)} & sys.stdlib_module_names


def test_cfsweep_is_not_and_its_checkout_can_hold_own_code(project_root: Path, imports: Callable[..., None]) -> None:
    imports(project_root, "examples.own_remedy", "search_spaces", "analysis")
    names = {path.name for path in own_code(project_root)}
    assert "examples" in names
    assert not names & {"cfsweep", "analysis", "search_spaces"}


# ------------------------------------------------------------------------------------------------ Ray that fails


def test_a_ray_that_is_up_in_this_process_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "shutdown", lambda: pytest.fail("it was shut down"))
    said = r"^Ray is up in this process already, and cfsweep leaves it alone\. Call `ray.shutdown"
    work: list[str] = []
    with pytest.raises(InputError, match=said), connected_beside(Workers(1), lambda: work.append("done")):
        pass
    assert not work


def test_a_folder_whose_name_is_too_long_for_rays_sockets_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("long" * 20)))
    with pytest.raises(InputError) as caught, connected_beside(Workers(1), lambda: None):
        pass
    line = str(caught.value)
    assert line.startswith("Ray cannot start on this machine (")
    assert "AF_UNIX path length cannot exceed 107 bytes" in line
    assert "set TMPDIR (or RAY_TMPDIR) to a shorter path, such as /tmp; or sweep with `--workers 0`" in line
    assert "\n" not in line
    assert not ray.is_initialized()


def test_whatever_else_keeps_it_from_starting_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (OSError("no\nmemory"), RuntimeError("the raylet died"), ValueError("no port"), KeyError("x")):

        def fails(error: Exception = error, **_: object) -> None:
            raise error

        monkeypatch.setattr(ray, "init", fails)
        with pytest.raises(InputError, match=r"^Ray cannot start on this machine .*--workers 0") as caught:
            connect(Workers(1))
        assert "\n" not in str(caught.value)
