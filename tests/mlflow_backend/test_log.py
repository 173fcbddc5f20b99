"""`cfsweep log` against a local MLflow: what is logged, once, and where the alias points, also after a fault."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.exceptions import MlflowException

import cfsweep
from cfsweep.bundle import continue_, read_manifest
from cfsweep.bundle.manifest import sha256
from cfsweep.errors import InputError
from cfsweep.mlflow_backend.facts import metrics, params
from cfsweep.mlflow_backend.log import IMPATIENT
from tests.conftest import Run


def champion(store: str, name: str) -> int:
    return int(mlflow.MlflowClient(store).get_model_version_by_alias(name, "champion").version)


def n_versions(store: str, name: str) -> int:
    return len(mlflow.MlflowClient(store).search_model_versions(f"name = '{name}'"))


def test_the_run_says_what_was_trained_and_how_well_it_does(folder: Path, store: str, run: Run) -> None:
    bundle = folder / "class-il"
    code, said, complaints = run(
        "log", bundle, "--name", "facts", "--uri", store, "--experiment", "new", "--alias", "champion"
    )
    client, about = mlflow.MlflowClient(store), read_manifest(bundle)
    version = client.get_model_version_by_alias("facts", "champion")
    logged = client.get_run(version.run_id)
    line = f"facts: version 1 logged in run {version.run_id}; champion is now this version\n"
    assert (code, said, complaints) == (0, line, "")
    assert logged.info.experiment_id == client.get_experiment_by_name("new").experiment_id
    assert (logged.info.status, version.status) == ("FINISHED", "READY")
    assert logged.data.tags["model_json_sha256"] == version.tags["model_json_sha256"] == sha256(bundle / "model.json")
    assert logged.data.params == params(about)
    assert logged.data.params["hp_lr"] == str(about.settings["lr"])
    assert logged.data.params["remedies"] == "replay"
    assert logged.data.metrics == metrics(about)
    assert logged.data.metrics["test_average_accuracy"] == about.average["test"]
    assert logged.data.metrics["validation_task_1"] == about.scores["validation"][-1][1]


@pytest.mark.usefixtures("no_program")
def test_scores_that_nobody_measured_are_left_out(folder: Path, tmp_path: Path) -> None:
    about = continue_(folder / "domain-il", folder / "tasks-domain-il" / "task-2.npz", {}, tmp_path / "after")
    assert metrics(about) == {f"{part}_task_2": about.scores[part][-1][2] for part in ("validation", "test")}


def test_the_same_bundle_is_one_version(folder: Path, store: str, tmp_path: Path) -> None:
    first = cfsweep.log(folder / "domain-il", "once", uri=store)
    with pytest.raises(MlflowException, match="alias champion not found"):
        champion(store, "once")
    (tmp_path / "elsewhere").symlink_to(folder / "domain-il")
    again = cfsweep.log(tmp_path / "elsewhere", "once", alias="champion", uri=store)
    assert (first.is_new, again.is_new, n_versions(store, "once")) == (True, False, 1)
    assert (
        repr(again) == f"once: version 1 is this bundle already, from run {first.run_id}; champion is now this version"
    )
    assert champion(store, "once") == 1
    assert cfsweep.log(folder / "class-il", "once", uri=store).version == 2
    assert cfsweep.log(folder / "domain-il", "it's", uri=store).is_new
    assert not cfsweep.log(folder / "domain-il", "it's", uri=store).is_new


@pytest.mark.parametrize(("max_drop", "code", "version"), [("0.02", 1, 1), ("0.99", 0, 2)], ids=["fails", "passes"])
def test_the_shell_moves_the_alias_where_the_gate_passes(
    max_drop: str, code: int, version: int, folder: Path, store: str, tmp_path: Path
) -> None:
    name = f"gated-{code}"
    cfsweep.log(folder / "domain-il", name, alias="champion", uri=store)
    line = (
        f"cfsweep gate --champion {folder}/domain-il --candidate {folder}/untrained --max-drop {max_drop} >gate.txt"
        f" && cfsweep log {folder}/untrained --name {name} --alias champion"
    )
    place = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": place, "MLFLOW_TRACKING_URI": store}
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, champion(store, name), n_versions(store, name)) == (code, version, version)
    if code:
        assert "gate: " in done.stderr
        assert done.stdout == ""
    else:
        assert done.stderr == "", "MLflow says nothing"
        assert done.stdout.splitlines()[1:] == []
        assert done.stdout.startswith(f"{name}: version 2 logged in run ")


@pytest.mark.parametrize("at", ["log_model_artifacts", "set_registered_model_alias"])
def test_after_a_fault_the_alias_is_where_it_was_and_the_same_command_goes_on(
    at: str, folder: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfsweep.log(folder / "untrained", at, alias="champion", uri=store)

    def broken(*_: Any, **__: Any) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, at, broken)
        with pytest.raises(InputError) as caught:
            cfsweep.log(folder / "domain-il", at, alias="champion", uri=store)
    assert str(caught.value) == f"mlflow {store}: OSError: no space left. Mend that, and log the bundle again."
    whole = at == "set_registered_model_alias"
    assert (champion(store, at), n_versions(store, at)) == (1, 1 + whole)
    found = mlflow.MlflowClient(store).search_runs(["0"], f"attributes.run_name = '{at}'")
    assert [one.info.status for one in found] == ["FINISHED" if whole else "FAILED", "FINISHED"]
    assert cfsweep.log(folder / "domain-il", at, alias="champion", uri=store).is_new != whole
    assert (champion(store, at), n_versions(store, at)) == (2, 2)


def test_of_two_versions_that_are_the_bundle_the_newer_one_counts(
    folder: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As two commands at once may make them."""
    with monkeypatch.context() as patch:
        patch.setattr("cfsweep.mlflow_backend.log._version_of", lambda *_: None)
        for version in (1, 2):
            assert cfsweep.log(folder / "untrained", "twins", uri=store).version == version
    again = cfsweep.log(folder / "untrained", "twins", alias="champion", uri=store)
    assert (again.version, again.is_new, champion(store, "twins")) == (2, False, 2)


def test_a_version_that_is_not_whole_is_none(folder: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cfsweep.log(folder / "domain-il", "pending", uri=store)
    monkeypatch.setattr("mlflow.entities.model_registry.ModelVersion.status", "FAILED_REGISTRATION")
    assert cfsweep.log(folder / "domain-il", "pending", uri=store).version == 2


def test_who_interrupts_it_finds_the_alias_where_it_was(
    folder: Path, store: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    cfsweep.log(folder / "untrained", "interrupted", alias="champion", uri=store)
    monkeypatch.setattr(mlflow.MlflowClient, "log_model_artifacts", interrupted)
    told = run("log", folder / "domain-il", "--name", "interrupted", "--alias", "champion", "--uri", store)
    assert told == (130, "", "cfsweep: interrupted; the same command logs what is not there yet\n")
    assert (champion(store, "interrupted"), n_versions(store, "interrupted")) == (1, 1)


def test_values_that_are_too_long_for_mlflow_are_cut_and_named(
    folder: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cfsweep.mlflow_backend.log.LONGEST", 12)
    logged = cfsweep.log(folder / "task-il", "long", uri=store)
    assert repr(logged).endswith("; cut, as they are too long for MLflow: stream")
    assert cfsweep.log(folder / "task-il", "long", uri=store).cut == (), "nothing was logged now"
    about = read_manifest(folder / "task-il")
    assert mlflow.MlflowClient(store).get_run(logged.run_id).data.params["stream"] == f"{about.stream[:11]}…"


def test_where_mlflow_was_it_is_afterwards(folder: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in IMPATIENT:
        monkeypatch.delenv(name, raising=False)
    assert not mlflow.is_tracking_uri_set()
    cfsweep.log(folder / "untrained", "globals", uri=store)
    assert not mlflow.is_tracking_uri_set()
    assert not IMPATIENT.keys() & os.environ.keys()
    mlflow.set_tracking_uri(store)
    try:
        with mlflow.start_run() as own:
            logged = cfsweep.log(folder / "domain-il", "globals")
            assert mlflow.active_run().info.run_id == own.info.run_id != logged.run_id
    finally:
        mlflow.set_tracking_uri(None)


def test_a_store_of_files_does_as_well(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = (tmp_path / "files").as_uri()
    with pytest.raises(InputError, match=r"it cannot be asked\. The filesystem tracking backend"):
        cfsweep.log(folder / "domain-il", "model", uri=uri)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert cfsweep.log(folder / "domain-il", "model", alias="champion", uri=uri).is_new
    assert not cfsweep.log(folder / "domain-il", "model", alias="champion", uri=uri).is_new
    assert champion(uri, "model") == 1


# ------------------------------------------------------------------------------------------------ what is refused


def test_a_server_that_is_not_there_is_told_in_one_line_without_the_password(folder: Path, run: Run) -> None:
    code, said, complaints = run("log", folder / "domain-il", "--name", "m", "--uri", "http://me:secret@localhost:9")
    assert (code, said, complaints.count("\n")) == (2, "", 1)
    assert complaints.startswith("cfsweep: mlflow http://***@localhost:9: it cannot be asked. API request to ")
    assert complaints.endswith("Start it, or give another --uri.\n")
    assert "secret" not in complaints


def test_a_name_that_mlflow_refuses_leaves_no_run(folder: Path, store: str, run: Run) -> None:
    client = mlflow.MlflowClient(store)
    before = len(client.search_runs(["0"]))
    code, said, complaints = run("log", folder / "domain-il", "--name", "a/b", "--uri", store)
    line = "Invalid model name 'a/b'. Names cannot contain '/' or ':'. Mend that, and log the bundle again."
    assert (code, said, complaints) == (2, "", f"cfsweep: mlflow {store}: {line}\n")
    assert len(client.search_runs(["0"])) == before


@pytest.mark.parametrize("alias", ["", "latest", "V2", "a b"])
def test_an_alias_that_mlflow_refuses_is_told_before_anything_is_logged(
    alias: str, folder: Path, store: str, run: Run
) -> None:
    code, _, complaints = run("log", folder / "domain-il", "--name", "m", "--uri", store, "--alias", alias)
    rule = "it must be of letters, digits, `_` and `-`, and neither latest nor a version such as v1. Choose another."
    assert (code, complaints) == (2, f"cfsweep: --alias {alias}: {rule}\n")
    assert n_versions(store, "m") == 0


@pytest.mark.parametrize("alias", ["latest", "v2", "a b"])
def test_mlflow_itself_refuses_these_aliases(alias: str, folder: Path, store: str) -> None:
    logged = cfsweep.log(folder / "domain-il", "refuses", uri=store)
    with pytest.raises(MlflowException):
        mlflow.MlflowClient(store).set_registered_model_alias("refuses", alias, str(logged.version))


def test_a_bundle_that_was_changed_is_refused(folder: Path, store: str, run: Run, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    changed.mkdir()
    for path in (folder / "domain-il").iterdir():
        (changed / path.name).write_bytes(path.read_bytes())
    (changed / "MODEL_CARD.md").write_text("the best model\n")
    code, _, complaints = run("log", changed, "--name", "changed", "--uri", store)
    assert code == 2
    assert "MODEL_CARD.md: it was changed since the bundle was written." in complaints
    assert n_versions(store, "changed") == 0


def test_without_mlflow_one_line_says_what_to_install(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.delitem(sys.modules, "cfsweep.mlflow_backend.log", raising=False)
    code, said, complaints = run("log", folder / "domain-il", "--name", "m")
    line = 'cfsweep: log: MLflow is not installed. Run `pip install "cfsweep[mlflow]"`.\n'
    assert (code, said, complaints) == (2, "", line)
