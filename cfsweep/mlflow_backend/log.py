"""Logs a bundle in MLflow: one run with what is known of it, the folder as its model, a version in the registry."""

from __future__ import annotations

import io
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import mlflow
import mlflow.pyfunc
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import DataType, ParamSchema, ParamSpec

from cfsweep.bundle.manifest import NAME, Manifest, read_manifest, sha256
from cfsweep.errors import InputError, first_line
from cfsweep.mlflow_backend import facts
from cfsweep.version import VERSION

TAG = "model_json_sha256"
LONGEST = 6000  # characters of a parameter's value
SERVED = Path(__file__).with_name("served.py")
# MLflow checks no examples: it would refuse float64 in place of float32. The model looks at their shape itself.
SIGNATURE = ModelSignature(params=ParamSchema([ParamSpec("task", DataType.long, None)]))
# For the first question alone: left to itself MLflow asks a server that is not there for four minutes.
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


@dataclass(frozen=True)
class Logged:
    """A version of a registered model. `is_new`: it was not there before. `alias` was moved to it, None where nobody
    asked. `cut`: parameters of the run whose values are longer than MLflow takes, in full in `model.json`."""

    name: str
    version: int
    run_id: str
    alias: str | None
    is_new: bool
    cut: tuple[str, ...]

    def __repr__(self) -> str:
        how = "logged in" if self.is_new else "is this bundle already, from"
        alias = "" if self.alias is None else f"; {self.alias} is now this version"
        short = f"; cut, as they are too long for MLflow: {', '.join(self.cut)}" if self.cut else ""
        return f"{self.name}: version {self.version} {how} run {self.run_id}{alias}{short}"


def log_bundle(bundle: Path, name: str, alias: str | None, uri: str | None, experiment: str | None) -> Logged:
    """The version of `name` that is the bundle, logged now unless there is one (told by the SHA-256 of `model.json`).

    The alias is moved when all else is done, so that it never points to half a model.

    Raises:
        InputError: there is no bundle, a file was changed, MLflow does not answer, or it refuses something.
    """
    _refuse_bad_alias(alias)
    # Before anything is copied, and with the name that the user knows in what is refused.
    known = {NAME, *read_manifest(bundle).files}
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / "bundle"  # as it is called in MLflow, however the folder is called here
        shutil.copytree(bundle, copy, ignore=lambda _, names: {*names} - known)  # links may lead anywhere
        about, digest = read_manifest(copy), sha256(copy / NAME)  # so what was verified is what is logged
        params, too_long = facts.cut(facts.params(about), LONGEST)
        with _talking_to(uri) as client:
            version = _version_of(client, name, digest)
            is_new = version is None
            if version is None:
                model_uri = _logged(client, copy, about, digest, params, name, experiment)
                version = mlflow.register_model(model_uri, name, tags={TAG: digest})
            if alias is not None:
                client.set_registered_model_alias(name, alias, str(version.version))
    return Logged(name, int(version.version), str(version.run_id), alias, is_new, too_long if is_new else ())


def _logged(
    client: mlflow.MlflowClient,
    folder: Path,
    about: Manifest,
    digest: str,
    params: dict[str, str],
    name: str,
    experiment: str | None,
) -> str:
    """The URI of the model of a new run, which is marked as failed if this does not come to its end."""
    where = _experiment(client, experiment)
    with mlflow.start_run(experiment_id=where, run_name=name, nested=True, tags={TAG: digest}):
        mlflow.log_params(params)
        mlflow.log_metrics(facts.metrics(about))
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(SERVED),
            artifacts={"bundle": str(folder)},
            signature=SIGNATURE,
            pip_requirements=_requirements(about),
        )
    return str(logged.model_uri)


def _requirements(about: Manifest) -> list[str]:
    """This cfsweep, which has read the bundle, and all else that it was made with, for the same bits."""
    versions = {**about.made_with, "cfsweep": VERSION}
    return [f"{package}=={version.partition('+')[0]}" for package, version in versions.items()]


def _version_of(client: mlflow.MlflowClient, name: str, digest: str) -> ModelVersion | None:
    """The newest whole version of `name` that is the bundle."""
    try:
        client.get_registered_model(name)  # also the first to say that the name is none
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    quote = '"' if "'" in name else "'"
    versions = client.search_model_versions(f"name = {quote}{name}{quote} and tags.{TAG} = '{digest}'")
    return max((v for v in versions if v.status == "READY"), key=lambda v: int(v.version), default=None)


def _experiment(client: mlflow.MlflowClient, name: str | None) -> str | None:
    """The id of the experiment, which is made if there is none; None for MLflow's own choice."""
    if name is None:
        return None
    known = client.get_experiment_by_name(name)
    return client.create_experiment(name) if known is None else known.experiment_id


def _refuse_bad_alias(alias: str | None) -> None:
    """
    Raises:
        InputError: MLflow would refuse the alias, which it is asked for last.
    """
    if alias is None or (re.fullmatch(r"[\w-]+", alias) and not re.fullmatch(r"latest|v\d+", alias.lower())):
        return
    raise InputError(
        f"--alias {alias}: it must be of letters, digits, `_` and `-`, and neither latest nor a version such as v1. "
        "Choose another."
    )


@contextmanager
def _talking_to(uri: str | None) -> Iterator[mlflow.MlflowClient]:
    """MLflow at `uri`, silent, with each of its errors as one line; afterwards it is where it was before."""
    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None  # type: ignore[no-untyped-call]
    where = f"mlflow {_masked(uri or mlflow.get_tracking_uri())}"
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            if uri is not None:
                mlflow.set_tracking_uri(uri)
            yield _answering(where)
    except InputError:
        raise
    except Exception as error:  # MLflow's own, and those of whatever stores its rows and files
        raise InputError(f"{where}: {_said(error)} Mend that, and log the bundle again.") from error
    finally:
        if uri is not None:
            mlflow.set_tracking_uri(before)  # type: ignore[arg-type]  # None: it was not set


def _answering(where: str) -> mlflow.MlflowClient:
    """
    Raises:
        InputError: it does not answer.
    """
    given = {name: os.environ.get(name) for name in IMPATIENT}
    try:
        os.environ.update({name: value for name, value in IMPATIENT.items() if given[name] is None})
        client = mlflow.MlflowClient()
        client.search_experiments(max_results=1)
    except Exception as error:
        raise InputError(f"{where}: it cannot be asked. {_said(error)} Start it, or give another --uri.") from error
    finally:
        for name in (name for name, value in given.items() if value is None):
            os.environ.pop(name, None)
    return client


def _said(error: Exception) -> str:
    """The error as a sentence; what MLflow says may hold a password."""
    text = first_line(error)
    if isinstance(error, MlflowException):  # in its own words
        text = text.partition(": ")[2]
    return _masked(text).rstrip(".") + "."


def _masked(text: str) -> str:
    """The text without what stands before the `@` of a URL.

    >>> _masked("http://me:secret@host:5000/api")
    'http://***@host:5000/api'
    """
    return re.sub(r"//[^/@\s]*@", "//***@", text)
