"""One writer at a time: who comes while another one lives is refused, who comes after its death is not."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pyarrow.fs as pafs
import pytest

from cfsweep.errors import InputError
from cfsweep.results import lease
from cfsweep.results.lease import CLAIMS, STALE_S, Lease, has_ended, this_process, writer
from cfsweep.results.status import is_held
from cfsweep.results.store import Store
from tests.results.stores import Watched, holding, of_another_machine


@pytest.fixture
def store(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_a_second_writer_is_refused_and_leaves_nothing(store: Watched) -> None:
    with holding(of_another_machine(store)):
        with pytest.raises(InputError, match=r"another cfsweep is writing to this study \(process 7 on far, last hea"):
            Lease(store).take()
        assert len(store.entries(CLAIMS)) == 1
        assert re.fullmatch(r"process 7 on far, last heard of \d s ago", writer(store) or "")
    assert writer(store) is None
    Lease(store).take()


def test_of_many_that_come_at_once_at_most_one_writes(store: Watched) -> None:
    for _ in range(10):
        leases, taken = [of_another_machine(store) for _ in range(4)], []

        def try_it(lease: Lease, taken: list[Lease] = taken) -> None:
            try:
                lease.take()
                taken.append(lease)
            except InputError:
                pass

        threads = [threading.Thread(target=try_it, args=(lease,)) for lease in leases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(taken) <= 1
        for own in taken:
            own.release()
        assert not store.entries(CLAIMS)


def test_one_that_was_not_heard_of_for_long_is_dead(store: Watched) -> None:
    gone = of_another_machine(store, stale_s=60.0)
    gone.take()
    path = store.folder / gone.name
    os.utime(path, (time.time() - 61, time.time() - 61))
    later = of_another_machine(store, stale_s=60.0)
    later.take()
    assert list(store.entries(CLAIMS)) == [later.name]


def test_one_that_was_taken_over_knows_it(store: Watched) -> None:
    paused, later = of_another_machine(store, renew_s=0.0, stale_s=0.05), of_another_machine(store, stale_s=0.05)
    paused.take()
    time.sleep(0.1)
    assert not paused.may_write, "somebody may have taken over"
    later.take()
    paused.keep()
    assert paused.lost
    assert not paused.may_write
    assert list(store.entries(CLAIMS)) == [later.name]


def test_one_that_was_paused_and_not_taken_over_goes_on(store: Watched) -> None:
    paused = of_another_machine(store, renew_s=0.0, stale_s=0.05)
    paused.take()
    time.sleep(0.1)
    paused.keep()
    assert not paused.lost
    assert paused.renewed_at > time.clock_gettime(time.CLOCK_BOOTTIME) - 0.05


def test_between_the_renewal_and_the_look_of_one_that_was_paused_another_comes(store: Watched) -> None:
    """It renews what the other has just judged by its age: the other one holds it."""
    lease, later = of_another_machine(store, renew_s=0.0, stale_s=0.05), of_another_machine(store, stale_s=0.05)
    lease.take()
    time.sleep(0.1)

    def other(name: str) -> None:
        store.on_write = lambda name: None
        later._claim()  # and looks later

    store.on_write = other
    lease.keep()
    assert lease.lost
    later._refuse_others()


def test_one_whose_renewal_is_removed_by_another_has_lost_it(store: Watched) -> None:
    """Who has judged it by its age before it was renewed removes it after that."""
    lease = of_another_machine(store, renew_s=0.0, stale_s=0.05)
    lease.take()
    time.sleep(0.1)
    store.on_write = store.remove
    lease.keep()
    assert lease.lost
    with pytest.raises(InputError, match="another cfsweep has taken this study over"):
        of_another_machine(store).take()


def test_a_claim_that_is_taken_back_while_it_is_looked_at_is_none(
    store: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write(f"{CLAIMS}/x.json", b"{}")
    is_there = Watched.has

    def then_gone(self: Watched, name: str) -> bool:
        found = is_there(self, name)
        self.remove(name)
        return found

    monkeypatch.setattr(Watched, "has", then_gone)
    of_another_machine(store).take()


def test_a_claim_that_is_no_claim_counts_by_its_age(store: Watched) -> None:
    for content in (b"", b"[]", b"{", b'{"pid": "x"}'):
        store.write(f"{CLAIMS}/x.json", content)
        with pytest.raises(InputError, match="another cfsweep is writing"):
            Lease(store).take()


def test_a_process_of_this_machine_that_has_ended_is_not_waited_for(store: Watched) -> None:
    line = "import json; from cfsweep.results.lease import this_process; print(json.dumps(this_process()))"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    gone = Lease(store)
    gone.content = done.stdout.encode()
    gone.take()
    Lease(store).take()


def test_which_process_has_ended() -> None:
    own = this_process()
    parent = {**own, "pid": os.getppid(), "began": Path(f"/proc/{os.getppid()}/stat").read_text().split()[-31]}
    assert has_ended(own), "this one has begun anew"
    assert not has_ended({**own, "machine": "another"})
    assert not has_ended({})
    assert has_ended({**parent, "began": "1"}), "the number was given to another process"


def test_a_process_that_is_hidden_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """As another user's, where `/proc` shows one's own alone."""
    parent = {**this_process(), "pid": os.getppid(), "began": "1"}
    with subprocess.Popen(["true"]) as ended:
        pass
    monkeypatch.setattr(lease, "_began", lambda pid: None)
    assert not has_ended(parent)
    assert has_ended({**parent, "pid": ended.pid})
    assert not has_ended({**parent, "pid": 10**30}), "what nobody can look for"


def test_the_time_in_which_a_machine_sleeps_counts(store: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux counts it in one clock, and not in Python's monotonic one."""
    slept = of_another_machine(store)
    slept.take()
    assert slept.may_write
    before = time.clock_gettime
    asleep = {time.CLOCK_BOOTTIME: STALE_S}
    monkeypatch.setattr(time, "clock_gettime", lambda clock: before(clock) + asleep.get(clock, 0.0))
    assert not slept.may_write


def test_a_study_within_another_one_is_claimed_with_it(tmp_path: Path) -> None:
    store = Store(tmp_path.as_uri())
    own = Lease(store)
    own.take()
    assert is_held(f"{tmp_path.as_uri()}/confirmed")
    own.release()
    assert not is_held(f"{tmp_path.as_uri()}/confirmed")


def test_no_name_in_a_store_leads_out_of_a_folder(store: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("runs/a.parquet", "runs/../../x", "/etc/x", "runs//x", "./x")
    found = [pafs.FileInfo(f"{store.root}/{name}", type=pafs.FileType.File, size=1, mtime_ns=1) for name in names]
    monkeypatch.setattr(store, "fs", SimpleNamespace(get_file_info=lambda _: found))
    assert list(store.entries()) == ["runs/a.parquet"]
