"""Who may run code on a Ray. The clusters are a GCS each, which one asks first; a whole one is in `test_sweeps`."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray
from ray._private import services

from cfsweep.errors import InputError
from cfsweep.sweeping.ray_backend.door import TOKEN, TOKEN_PATH, by_token, keep_to_oneself, token_file
from cfsweep.sweeping.scheduler import Workers

RIGHT, WRONG = "a" * 64, "b" * 64
Gcs = Callable[..., str]


@pytest.fixture(scope="module")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gcs]:
    """Starts a GCS with these variables in its environment, and gives its address."""
    program = Path(ray.__file__).parent / "core" / "src" / "ray" / "gcs" / "gcs_server"
    here, started = services.get_node_ip_address(), []

    def start(**environment: str) -> str:
        folder, node = tmp_path_factory.mktemp("gcs"), "ab" * 28
        names = {"session-name": "x", "session-dir": folder, "log_dir": folder, "node-id": node, "config_list": "e30="}
        args = [f"--{name}={value}" for name, value in names.items()]
        started.append(
            subprocess.Popen(
                [program, f"--node-ip-address={here}", "--gcs_server_port=0", *args],
                env={**os.environ, **environment},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
        port = folder / f"gcs_server_port_{node}"
        deadline = time.monotonic() + 60
        while not (port.exists() and port.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return f"{here}:{port.read_text()}"

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def closed(gcs: Gcs) -> str:
    return gcs(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=RIGHT)


@pytest.fixture(scope="module")
def wide_open(gcs: Gcs) -> str:
    return gcs(RAY_AUTH_MODE="disabled")


@pytest.fixture(autouse=True)
def _nothing_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_AUTH_MODE", TOKEN, TOKEN_PATH, "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def mode_at(address: str, insecure: bool = False) -> str:
    with by_token(Workers(address=address, insecure=insecure)):
        return os.environ["RAY_AUTH_MODE"]


def refused(address: str, insecure: bool = False) -> str:
    before = dict(os.environ)
    with pytest.raises(InputError) as caught:
        mode_at(address, insecure)
    assert dict(os.environ) == before
    line = str(caught.value)
    assert line.startswith(f"--address {address}: ")
    assert "\n" not in line
    return line


def test_a_cluster_that_demands_no_token_is_refused_unless_it_is_said(
    wide_open: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "demands no token" in (line := refused(wide_open))
    assert "RAY_AUTH_MODE=token" in line
    assert "`--insecure`" in line
    assert mode_at(wide_open, insecure=True) == "disabled"
    assert "RAY_AUTH_MODE" not in os.environ
    assert capfd.readouterr() == ("", "")


def test_the_same_where_a_token_is_here(wide_open: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv(TOKEN, RIGHT)
    assert "demands no token" in refused(wide_open)


@pytest.mark.parametrize("insecure", [False, True])
def test_the_token_of_a_cluster(
    insecure: bool, closed: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """From each of the places where Ray looks for one; nobody else can read the files afterwards."""
    home, elsewhere = tmp_path / ".ray" / "auth_token", tmp_path / "elsewhere"
    assert "wants a token, and none is here" in (line := refused(closed, insecure))
    assert f"Set {TOKEN_PATH}" in line
    assert str(home) in line

    monkeypatch.setenv(TOKEN_PATH, str(elsewhere))
    assert f"{TOKEN_PATH} is {elsewhere}, and no file" in refused(closed, insecure)
    for content, right in ((WRONG, False), (RIGHT, True), ("", False)):
        elsewhere.write_text(content)
        elsewhere.chmod(0o644)
        if right:
            assert mode_at(closed, insecure) == "token"
        else:
            assert ("no file with one" if not content else f"not that in {elsewhere}") in refused(closed, insecure)
        assert elsewhere.stat().st_mode & 0o777 == (0o600 if content else 0o644)
    monkeypatch.delenv(TOKEN_PATH)

    home.parent.mkdir()
    home.write_text(RIGHT)
    home.chmod(0o664)
    assert mode_at(closed, insecure) == "token"
    assert home.stat().st_mode & 0o777 == 0o600

    monkeypatch.setenv(TOKEN, WRONG)
    line = refused(closed, insecure)
    assert f"wants a token, and not that in {TOKEN}" in line
    assert WRONG not in line
    assert capfd.readouterr() == ("", "")


def test_an_address_of_another_kind(closed: str) -> None:
    assert "a sweep runs on a machine of the cluster" in refused(f"ray://{closed}")
    assert "no Ray cluster answers there" in refused("127.0.0.1:1")


def test_this_machines_own_ray_has_a_token_that_is_in_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for mode in (None, "disabled", "token"):
        with monkeypatch.context() as patch:
            if mode is not None:
                patch.setenv("RAY_AUTH_MODE", mode)
            patch.setenv(TOKEN_PATH, str(tmp_path / "nowhere"))
            seen = []
            for _ in range(2):
                with by_token(Workers()):
                    assert os.environ["RAY_AUTH_MODE"] == "token"
                    seen.append(os.environ[TOKEN])
            assert os.environ.get("RAY_AUTH_MODE") == mode
            assert TOKEN not in os.environ
            assert len(set(seen)) == 2
            assert min(map(len, seen)) == 64
    assert list(tmp_path.rglob("*")) == []


def test_what_is_not_ones_own_file_stays_as_it_is(tmp_path: Path) -> None:
    keep_to_oneself(tmp_path / "missing")
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text(RIGHT)
    real.chmod(0o644)
    link.symlink_to(real)  # as a secret that is mounted
    keep_to_oneself(link)
    keep_to_oneself(tmp_path)
    assert real.stat().st_mode & 0o777 == 0o644
    assert token_file() == Path.home() / ".ray" / "auth_token"
