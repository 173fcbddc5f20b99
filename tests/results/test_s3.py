"""Studies on a real server that speaks S3, without a file system in common."""

from __future__ import annotations

import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cfsweep.results.lease import CLAIMS
from cfsweep.results.mirror import open_mirror
from cfsweep.results.reader import read_table
from cfsweep.results.store import FAULTS, Store
from tests.conftest import Run
from tests.results.s3 import S3, running
from tests.sweeping.command import Processes, finish, until

BY_CHANCE = ("train_s", "started_at", "peak_bytes", "attempt")


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with running() as server:
        yield server


@pytest.fixture
def s3(server: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3:
    """The server, as this process finds it, and a cache of its own."""
    for name, value in {**server.environment, "CFSWEEP_CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    return server


def rows(place: str | Path, table: str) -> list[dict[str, Any]]:
    found = read_table(place, table).to_pylist()
    kept = [{name: value for name, value in row.items() if name not in BY_CHANCE} for row in found]
    return sorted(kept, key=lambda row: [row.get(name, 0) for name in ("trial", "seed", "after_task", "eval_task")])


def test_a_store_of_files(s3: S3, tmp_path: Path) -> None:
    store, large = Store(s3.address("files")), random.Random(1).randbytes(12_000_000)
    assert (store.names(), store.entries(), store.read("x"), store.has("x")) == ([], {}, None, False)
    (tmp_path / "large").write_bytes(large)
    (tmp_path / "empty").write_bytes(b"")
    store.write("a/b/c", b"abc")
    store.send("large", tmp_path / "large")
    store.send("empty", tmp_path / "empty")
    assert {name: entry.size for name, entry in store.entries().items()} == {
        "a/b/c": 3,
        "large": 12_000_000,
        "empty": 0,
    }
    assert store.names() == ["a", "empty", "large"]
    assert list(store.entries("a")) == ["a/b/c"]
    assert abs(store.entries()["empty"].written_at - time.time()) < 60
    store.fetch("large", tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == large
    store.write("a/b/c", b"")
    assert store.read("a/b/c") == b""
    store.remove("a/b/c")
    store.remove("a/b/c")
    assert not store.has("a/b/c")
    with pytest.raises(FAULTS):
        Store("s3://nobody-has-it/x").write("x", b"")


def test_from_a_sweep_to_a_report(s3: S3, run: Run, tmp_path: Path, smoke: Path) -> None:
    address, folder = s3.address("whole"), tmp_path / "folder"
    for place in (address, folder):
        assert run("run", smoke, "--workers", "0", "--trials", "2", "--set", "epochs=1", "--out", place)[0] == 0
    shutil.rmtree(tmp_path / "cache")
    for place in (address, folder):
        for command in (("resume", place, "--trials", "+1", "--workers", "0"), ("select", place), ("report", place)):
            assert run(*command)[0] == 0
    for table in ("runs", "accuracy"):
        assert rows(address, table) == rows(folder, table)
    assert {"selection.json", "report.html", "journal.jsonl", "study.yaml"} <= set(Store(address).names())
    code, _, err = run("run", smoke, "--workers", "0", "--out", "s3://nobody-has-it/x")
    assert code == 2
    assert err.startswith("cfsweep: s3://nobody-has-it/x: it cannot be written to (")
    assert err.count("\n") == 1


def test_a_server_that_is_out_of_reach_for_a_while(s3: S3, tmp_path: Path) -> None:
    address, said = s3.address("away"), list[str]()
    s3.way.close()
    again = threading.Timer(3, s3.way.open)
    with pytest.raises(Exception, match="cannot be written to"), open_mirror(address, tmp_path / "none"):
        pass
    s3.way.open()
    with open_mirror(address, tmp_path / "home", said.append) as folder:
        (folder / "study.yaml").write_text("study_id: a\n")
        while not Store(address).has("study.yaml"):
            time.sleep(0.1)
        s3.way.close()
        (folder / "journal.jsonl").write_text("1\n")
        while not said:
            time.sleep(0.1)
        again.start()
    assert [line.partition(" (")[0] for line in said] == [
        f"{address}: it cannot be written to",
        f"{address}: it can be written to again, and has what was kept meanwhile",
    ]
    assert Store(address).read("journal.jsonl") == b"1\n"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", "confirm"])
def test_killed_at_random_moments_and_the_folder_gone(
    s3: S3, run: Run, tmp_path: Path, smoke: Path, command: str
) -> None:
    seed = time.time_ns()
    print("seed", seed)
    chance, processes = random.Random(seed), Processes(tmp_path)
    address, folder, kills = s3.address(f"killed-{command}"), tmp_path / "undisturbed", 0
    begin = {place: ("run", smoke, "--trials", "8", "--seeds", "2", "--out", place) for place in (address, folder)}
    again: dict[str | Path, tuple[str | Path, ...]] = begin
    if command == "confirm":
        for place in (address, folder):
            assert run(*begin[place], "--workers", "0")[0] == 0
            assert run("select", place)[0] == 0
        again = {place: ("confirm", place, "--trials", "0,1,2", "--seeds", "6") for place in (address, folder)}
    assert run(*again[folder], "--workers", "0")[0] == 0
    while True:
        before = Store(address).entries(CLAIMS).keys()
        environment = {**s3.environment, "CFSWEEP_CACHE": str(tmp_path / "cache of others")}
        process = processes.start(*again[address], "--workers", "0", **environment)
        if kills < 6:
            until(lambda b=before: Store(address).entries(CLAIMS).keys() - b, process)
            time.sleep(chance.uniform(0, 3))
            process.kill()
        code, out, err = finish(process)
        if code != -signal.SIGKILL:
            break
        kills += 1
        shutil.rmtree(tmp_path / "cache of others", ignore_errors=True)
    processes.end()
    assert (code, err) == (0, ""), out
    print("kills", kills)
    where = address if command == "run" else f"{address}/confirmed"
    whole = folder if command == "run" else folder / "confirmed"
    found = Counter((row["trial"], row["seed"]) for row in rows(where, "runs"))
    assert set(found.values()) == {1}
    assert found.keys() == {(row["trial"], row["seed"]) for row in rows(whole, "runs")}
    same = {row["trial"] for row in rows(whole, "runs")} if command == "confirm" else {-1000, -1, -2, 0}
    for table in ("runs", "accuracy", "test", "buffers"):
        one, other = ([row for row in rows(place, table) if row["trial"] in same] for place in (where, whole))
        assert one == other
    cells = Counter((row["trial"], row["seed"], row["after_task"], row["eval_task"]) for row in rows(where, "accuracy"))
    assert set(cells.values()) == {1}
