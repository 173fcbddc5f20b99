"""Which code runs: what the user has named or owns, and nothing that only a file names. Nothing that comes in a results
folder, a bundle or a table is unpickled."""

from __future__ import annotations

import importlib
import json
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from cfsweep.bundle import load, read_manifest
from cfsweep.config import NetworkConfig, StreamConfig
from cfsweep.errors import InputError
from cfsweep.results.reader import read_table
from cfsweep.sweeping.folder import Folder
from cfsweep.sweeping.parsing import make_config
from cfsweep.testing.packs import make_pack, small_stream
from cfsweep.training import plugins
from cfsweep.training.first_task_cache import FirstTask
from cfsweep.training.networks import read_weights
from cfsweep.training.pack import Pack
from cfsweep.training.plugins import contained, current_folder_importable, imported, named, trusting
from cfsweep.training.streams import load_stream
from tests.conftest import Run

NET = """
from functools import partial
from subprocess import run as other
from pathlib import Path
from torch import nn
import sys
Path({mark!r}).touch()
def build(input_shape, n_outputs): return nn.Sequential(nn.Flatten(), nn.Linear(64, n_outputs))
wide = partial(build)
def leave(**given): sys.exit(0)
class Odd(BaseException): pass
def odd(**given): raise Odd("x")
"""


@pytest.fixture(autouse=True)
def _wary(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a user, who trusts nothing and has named nothing yet."""
    monkeypatch.setattr(plugins, "_trusted", [])
    monkeypatch.setattr(plugins, "_named", set())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, empty, beside others."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of which modules can be imported, but none that the user works in."""
    folder = tmp_path_factory.mktemp("installed")
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
def module(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[Path, str], Path]:
    """Writes a module of this name into a folder; the mark that running it leaves."""

    def write(folder: Path, name: str) -> Path:
        mark, file = tmp_path / f"{name}-has-run", folder.joinpath(*name.split(".")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(NET.format(mark=str(mark)))
        request.addfinalizer(lambda: [sys.modules.pop(top, None) for top in (name, name.partition(".")[0])])
        return mark

    return write


def followed(path: str) -> object:
    with current_folder_importable():
        return imported(path, "space.yaml")


Module = Callable[[Path, str], Path]


def test_code_beside_the_working_folder_is_not_run_because_a_file_names_it(
    here: Path, elsewhere: Path, module: Module
) -> None:
    mark = module(elsewhere, "trust_away")
    said = r"^space.yaml: `trust_away:build` is code that a file names, not you, and .* allow it with --trust"
    with pytest.raises(InputError, match=said) as caught:
        followed("trust_away:build")
    assert "\n" not in str(caught.value)
    assert not mark.exists()
    with trusting():
        assert callable(followed("trust_away:build"))
    assert mark.exists()
    with pytest.raises(InputError, match="is code that a file names"):
        followed("trust_away:build")  # it is loaded, and no more the user's for that
    named({"space": {"network": {"name": "trust_away:build"}}, "itself": [named]})
    assert callable(followed("trust_away:build"))


def test_code_that_is_not_there_is_not_a_matter_of_trust(here: Path) -> None:
    """As of a study that is resumed in another folder than the one it was begun in: `--trust` would not help."""
    with pytest.raises(InputError, match=r"there is no module `nowhere_at_all` .*start cfsweep in the folder that"):
        imported("nowhere_at_all.net:build", "x")


def test_the_files_of_the_working_folder_are_the_users(here: Path, module: Module) -> None:
    mark = module(here, "trust_own")
    assert callable(followed("trust_own:build"))
    assert callable(followed("trust_own:wide"))
    assert mark.exists()
    module(here, "trust_package.sub.net")
    assert callable(followed("trust_package.sub.net:build"))
    with pytest.raises(InputError, match=r"`trust_own:other` \(it is `subprocess`'s\) is code that a file names"):
        followed("trust_own:other")


@pytest.mark.parametrize("came_with", ["study.yaml", "model.json"])
@pytest.mark.parametrize("at", ["", "runs", "runs/demo"])
def test_but_not_those_that_came_with_a_study_or_a_bundle(here: Path, module: Module, came_with: str, at: str) -> None:
    mark = module(here, "runs.demo.trust_brought")
    (here / at / came_with).touch()
    with pytest.raises(InputError, match=r"`runs\.demo\.trust_brought:build` is code that a file names"):
        followed("runs.demo.trust_brought:build")
    assert not mark.exists()


def test_a_file_there_is_taken_for_no_package(here: Path, module: Module) -> None:
    mark = module(here, "trust_shadow")
    (here / "model.json").touch()
    with pytest.raises(ModuleNotFoundError), current_folder_importable():
        importlib.import_module("trust_shadow")
    assert not mark.exists()
    (here / "model.json").unlink()
    with current_folder_importable():
        importlib.import_module("trust_shadow")
    assert mark.exists()


def test_nor_those_of_an_environment_there(here: Path, module: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    place = here / ".venv/lib/python3.11/site-packages"
    mark = module(place, "trust_installed")
    monkeypatch.syspath_prepend(place)
    with pytest.raises(InputError, match="is code that a file names"):
        followed("trust_installed:build")
    assert not mark.exists()


def test_what_runs_or_fetches_anything_is_followed_for_nobody(here: Path) -> None:
    for path in ("os:system", "sys:exit", "builtins:eval", "subprocess:run", "runpy:run_path", "torch.hub:load"):
        named(path)
        with trusting(), pytest.raises(InputError, match=f"^space.yaml: `{path}` is no function for cfsweep to run"):
            followed(path)
    assert callable(followed("cfsweep.encoders:torchvision"))
    with pytest.raises(InputError, match="is code that a file names"):
        followed("cfsweep.library.models:export")


def test_own_code_cannot_end_the_process(here: Path, module: Module, run: Run, smoke: Path) -> None:
    module(Path.cwd(), "trust_exit")
    for function, said in (("leave", "SystemExit: 0"), ("odd", "Odd: x")):
        for option in (("--stream", f"trust_exit:{function}"), ("--set", f"network.name=trust_exit:{function}")):
            code, printed, complaints = run("run", smoke, *option, "--dry-run")
            assert (code, complaints.count("\n")) == (2, 1), printed
            assert f"(RuntimeError: it asked Python to end by {said})" in complaints
    with pytest.raises(KeyboardInterrupt), contained():
        raise KeyboardInterrupt


# ------------------------------------------------------------------------------------------------ what files bring


def test_a_space_from_elsewhere_runs_nothing_under_dry_run(
    run: Run, tmp_path: Path, elsewhere: Path, module: Module
) -> None:
    mark = module(elsewhere, "trust_space")
    space = tmp_path / "received.yaml"
    space.write_text('network: {name: "trust_space:build"}\nsearch: {lr: {low: 0.1, high: 0.2}}\n')
    code, _, complaints = run("run", space, "--dry-run")
    assert (code, mark.exists()) == (2, False)
    assert "network `trust_space:build`: `trust_space:build` is code that a file names, not you" in complaints
    code, printed, _ = run("run", space, "--dry-run", "--trust")
    assert (code, mark.exists()) == (0, True)
    assert "note: code runs that a file names: trust_space:build" in printed
    assert run("run", space, "--dry-run")[0] == 2, "it was allowed for one command"
    code, printed, _ = run("run", space, "--dry-run", "--set", "network.name=trust_space:build")
    assert (code, "code runs" in printed) == (0, False), "who types it names it"


@pytest.mark.parametrize("place", [("stream", "name"), ("space", "network", "name"), ("stream", "encoder")])
def test_a_study_from_elsewhere_runs_nothing_when_it_is_resumed(
    run: Run,
    smoke: Path,
    tmp_path: Path,
    elsewhere: Path,
    module: Module,
    place: tuple[str, ...],
) -> None:
    mark = module(elsewhere, "trust_study")
    assert run("run", smoke, "--trials", "1", "--set", "references=false", "--workers", "0", "--out", "out")[0] == 0
    file = tmp_path / "out" / "study.yaml"
    study = yaml.safe_load(file.read_text())
    inside = study["config"]
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = "trust_study:build"
    study["study_id"] = "0" * 12
    shutil.rmtree(tmp_path / "out")
    Folder(tmp_path / "out").write(study)
    found = run("resume", "out", "--trials", "+1", "--workers", "0")[2]
    study["study_id"] = found.partition("hashes to ")[2][:12]  # its id is no secret
    shutil.rmtree(tmp_path / "out")
    Folder(tmp_path / "out").write(study)
    code, _, complaints = run("resume", "out", "--trials", "+1", "--workers", "0")
    assert (code, complaints.count("\n"), mark.exists()) == (2, 1, False)
    assert "`trust_study:build` is code that a file names, not you" in complaints


def test_a_bundle_from_elsewhere_runs_nothing(
    tmp_path: Path, elsewhere: Path, module: Module, monkeypatch: pytest.MonkeyPatch, no_program: None
) -> None:
    import cfsweep

    mark = module(elsewhere, "trust_bundle")
    monkeypatch.chdir(tmp_path)
    training = cfsweep.train("split-digits", ingredients=["ewc"], settings={"epochs": 1, "network.args.hidden": [4]})
    training.export("bundle")
    told = json.loads((tmp_path / "bundle/model.json").read_text())
    told["network"]["name"] = "trust_bundle:build"
    (tmp_path / "bundle/model.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match="`trust_bundle:build` is code that a file names"):
        load("bundle")
    assert not mark.exists()
    told["files"]["../outside"] = "0" * 64
    (tmp_path / "bundle/model.json").write_text(json.dumps(told))
    with pytest.raises(InputError, match=r"`files` names \.\./outside, which is not in the bundle"):
        read_manifest(tmp_path / "bundle")


class Hostile:
    """Runs code when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_no_weights_checkpoint_or_first_task_is_unpickled(tmp_path: Path) -> None:
    mark, file = tmp_path / "has-run", tmp_path / "weights.pt"
    torch.save({"w": Hostile(mark)}, file)
    with pytest.raises(InputError, match=r"weights\.pt"):
        read_weights(file, f"network: {file}")
    for restore in (Pack.restore, FirstTask.from_bytes):
        with pytest.raises(pickle.UnpicklingError):
            restore(file.read_bytes(), make_pack(small_stream()).stream if restore == Pack.restore else "cpu")  # type: ignore[operator]
    np.savez(tmp_path / "t0.npz", x_train=np.array([[Hostile(mark)]], dtype=object), y_train=np.zeros(1))
    with pytest.raises(InputError, match="object"):
        load_stream(StreamConfig(name=str(tmp_path)))
    assert not mark.exists()


def hostile_column(mark: Path) -> pa.Table:
    """A column of the type by which Ray keeps what it has pickled: to read a value is to unpickle it."""
    field = pa.field(
        "trial",
        pa.large_binary(),
        metadata={"ARROW:extension:name": "ray.data.arrow_pickled_object", "ARROW:extension:metadata": ""},
    )
    values = pa.array([pickle.dumps(Hostile(mark))], pa.large_binary())
    inside = pa.schema([field, *(pa.field(name, pa.int64()) for name in ("seed", "attempt", "y"))])
    return pa.Table.from_arrays([values, *(pa.array([0], pa.int64()) for _ in range(3))], schema=inside)


@pytest.mark.filterwarnings("ignore")
def test_no_column_of_a_table_is_unpickled(tmp_path: Path) -> None:
    import ray.data  # registers the type  # noqa: F401

    mark = tmp_path / "has-run"
    (tmp_path / "runs").mkdir()
    pq.write_table(hostile_column(mark), tmp_path / "runs" / "a.parquet")
    pq.read_table(tmp_path / "runs" / "a.parquet").to_pylist()
    assert mark.exists(), "left alone, Arrow and Ray do it"
    mark.unlink()
    said = "column `trial` of the type ray.data.arrow_pickled_object"
    with pytest.raises(InputError, match=f"cfsweep wrote no {said}"):
        read_table(tmp_path, "runs").to_pylist()
    for stream in (
        {"name": str(tmp_path / "runs")},
        {"name": str(tmp_path / "runs"), "args": {"target": "y", "task": "seed"}},
    ):
        with pytest.raises(InputError, match=f"the {said} is none of Arrow's own"):
            load_stream(StreamConfig.model_validate(stream))
    assert not mark.exists()


def test_what_a_user_names_in_python_is_named(here: Path, elsewhere: Path, module: Module) -> None:
    module(elsewhere, "trust_python")
    make_config({"network": {"name": "trust_python:build"}}, {}, {})
    assert callable(followed("trust_python:build"))
    assert NetworkConfig(name="trust_python:build").name in plugins.import_paths({"a": ["trust_python:build"]})
