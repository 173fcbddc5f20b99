"""The ledger says what is committed, and of itself whether it is whole."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from cfsweep.results.ledger import LEDGER, Commit, Digest, LedgerWriter, begin_ledger, digest_of, parsed, read_ledger
from cfsweep.results.sealing import sealed_line

ONE, TWO = (
    {"runs/a.parquet": digest_of(b"1")},
    {"runs/b.parquet": digest_of(b"2"), "accuracy/b.parquet": digest_of(b"")},
)


def written(root: Path) -> LedgerWriter:
    writer = begin_ledger(root, "s")
    writer.commit(ONE, [(0, 0)], 1)
    writer.commit(TWO, [(1, 0), (1, 1), (1, 0)], 3)
    return writer


def lines_of(root: Path) -> list[bytes]:
    return (root / LEDGER).read_bytes().splitlines(keepends=True)


def test_what_is_committed_reads_back(tmp_path: Path) -> None:
    writer = written(tmp_path)
    found = read_ledger(pafs.LocalFileSystem(), str(tmp_path))
    assert found == writer.ledger
    assert found is not None
    assert (found.study_id, found.faults, found.torn) == ("s", [], 0)
    assert found.commits[2] == Commit(2, TWO, ((1, 0), (1, 1)), 3)
    assert found.files == {**ONE, **TWO}
    assert found.parts("runs") == {"runs/a.parquet": digest_of(b"1"), "runs/b.parquet": digest_of(b"2")}
    assert digest_of(b"1") == Digest("6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b", 1)
    assert read_ledger(pafs.LocalFileSystem(), str(tmp_path / "elsewhere")) is None


def test_a_commit_that_is_taken_back_holds_nothing_and_its_runs_come_as_a_later_attempt(tmp_path: Path) -> None:
    writer = written(tmp_path)
    writer.take_back([2])
    writer.commit({"runs/c.parquet": digest_of(b"3")}, [(1, 0)], 4)
    found = parsed((tmp_path / LEDGER).read_bytes())
    assert (found.files, found.next_attempt, found.faults) == ({**ONE, "runs/c.parquet": digest_of(b"3")}, 4, [])
    assert found == writer.ledger


def test_of_what_was_written_twice_the_later_counts(tmp_path: Path) -> None:
    writer = written(tmp_path)
    writer.commit({"runs/a.parquet": digest_of(b"new")}, [(0, 0)], 2)
    assert writer.ledger.files["runs/a.parquet"] == digest_of(b"new")
    assert writer.ledger.commit_of["runs/a.parquet"] == 3


@pytest.mark.parametrize("gone", [0, 1])
def test_a_line_that_is_gone_shows(tmp_path: Path, gone: int) -> None:
    written(tmp_path)
    lines = lines_of(tmp_path)
    assert parsed(b"".join(lines[:gone] + lines[gone + 1 :])).faults == [f"lines before line {gone + 1} are gone"]
    assert parsed(b"".join([lines[1], lines[0], lines[2]])).faults != []


def test_no_bit_of_it_can_change(tmp_path: Path) -> None:
    written(tmp_path)
    whole = (tmp_path / LEDGER).read_bytes()
    for place in range(len(whole)):
        for bit in (1, 128):
            content = bytearray(whole)
            content[place] ^= bit
            found = parsed(bytes(content))
            assert found.faults or found.torn, (place, bit)
    assert parsed(b"").faults == ["it is empty"]


def test_a_torn_last_line_is_none_and_the_next_replaces_it(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / LEDGER
    whole = path.read_bytes()
    path.write_bytes(whole[:-7])
    found = parsed(path.read_bytes())
    assert (found.files, found.faults, found.torn > 0) == (ONE, [], True)
    LedgerWriter(tmp_path, found).commit(TWO, [(1, 0), (1, 1)], 3)
    assert path.read_bytes() == whole


def test_a_disk_that_is_full_leaves_it_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = written(tmp_path)
    whole, known = (tmp_path / LEDGER).read_bytes(), dict(writer.ledger.files)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=r"No space left on device: '.*commits\.jsonl'"):
            writer.commit({"runs/c.parquet": digest_of(b"3")}, [(2, 0)], 1)
    assert ((tmp_path / LEDGER).read_bytes(), writer.ledger.files) == (whole, known)
    writer.commit({"runs/c.parquet": digest_of(b"3")}, [(2, 0)], 1)
    assert parsed((tmp_path / LEDGER).read_bytes()) == writer.ledger


@pytest.mark.parametrize(
    "line",
    [
        b'{"n":1,"files":{"../../home/x":["a",1]},"runs":[],"attempt":1,"before":"B"}',
        b'{"n":1,"files":{"runs/../../x":["a",1]},"runs":[],"attempt":1,"before":"B"}',
        b'{"n":1,"files":{"/etc/passwd":["a",1]},"runs":[],"attempt":1,"before":"B"}',
        b'{"n":1,"files":[1],"runs":[],"attempt":1,"before":"B"}',
        b'{"n":1,"files":{"runs/a":[1]},"runs":[[1]],"attempt":1,"before":"B"}',
        b'{"before":"B"}',
        b'{"n":"x","before":"B"}',
        b'{"n":[1],"before":"B"}',
        b'{"n":1,"taken_back":[0.5],"before":"B"}',
        b'{"n":1,"study_id":["s"],"before":"B"}',
        b'{"n":1,"files":{"runs/a":["a",Infinity]},"runs":[],"attempt":1,"before":"B"}',
        b'{"n":1,"files":{"runs/a":["a",1]},"runs":[],"attempt":1,"taken_back":[[1]],"before":"B"}',
        b'{"n":1,"files":{"runs/a":["a",1]},"runs":[[2147483648,0]],"attempt":1,"before":"B"}',
        b'{"n":1,"files":{"runs/a":["a",1]},"runs":[],"attempt":2147483647,"before":"B"}',
        pytest.param(b'{"n":1,"files":' + b"[" * 200_000 + b',"before":"B"}', id="deep"),
    ],
)
def test_a_hostile_line_is_a_fault_and_leads_nowhere(tmp_path: Path, line: bytes) -> None:
    writer = begin_ledger(tmp_path, "s")
    sealed, _ = sealed_line(line.replace(b"B", writer.ledger.last_check.encode()))
    found = parsed((tmp_path / LEDGER).read_bytes() + sealed)
    assert (found.faults, found.files) == (["line 2 is none of a ledger"], {})


def test_a_line_of_the_number_of_another_replaces_none(tmp_path: Path) -> None:
    writer = written(tmp_path)
    line = b'{"n":1,"files":{},"runs":[],"attempt":1,"before":"%s"}' % writer.ledger.last_check.encode()
    found = parsed((tmp_path / LEDGER).read_bytes() + sealed_line(line)[0])
    assert found.faults == ["lines before line 4 are gone"]
