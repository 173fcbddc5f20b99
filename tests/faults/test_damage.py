"""What lies on the disk is not what was written: a bit is flipped, a file cut, emptied or gone."""

from __future__ import annotations

import random
import re
from functools import partial
from pathlib import Path

import pytest

from cfsweep.results.reader import COPY
from cfsweep.results.status import LOCK
from tests.faults.conftest import Ends, Measured
from tests.faults.disturbed import Disturbed
from tests.sweeping.command import finish
from tests.sweeping.ray_backend.scenarios import those_who_live_on

pytestmark = pytest.mark.slow


def flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def cut(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def empty(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"")


def remove(path: Path, rng: random.Random) -> None:
    path.unlink()


TORN = "its last line is torn"  # as after a kill, which is no damage: `resume` does it again
SET_ASIDE = r"damaged(/.*)?|checkpoints/.*\.damaged"
DAMAGE = {"a bit is flipped": flip, "a file is cut": cut, "a file is emptied": empty, "a file is gone": remove}


@pytest.mark.fault(
    "{} in a folder, three times",
    "`check` names it, nothing is read of it; after `repair`, `resume` trains what it held",
)
@pytest.mark.parametrize("name", DAMAGE)
def test_files_are_damaged(name: str, disturbed: Disturbed, ends: Ends, measured: Measured) -> None:
    """In the middle of a sweep that was killed, and once it is complete."""
    process = disturbed.start()
    disturbed.moment(process, earliest=3)
    process.kill()
    finish(process)
    # Its broker may write a checkpoint once more before it ends, and so mend what was damaged.
    assert those_who_live_on(disturbed.begun, ends.patience_s) == {}
    for _ in range(3):
        files = sorted(filter(partial(_may_be_damaged, disturbed.out), disturbed.out.rglob("*")))
        path = disturbed.rng.choice(files)
        before = path.read_bytes()
        DAMAGE[name](path, disturbed.rng)
        where = f"{path.relative_to(disturbed.out)} of {len(before)} bytes"
        print(f"{name}: {where}")
        measured.faults += 1
        code, printed, complaints = finish(disturbed.processes.start("check", disturbed.out))
        name_of_it = path.relative_to(disturbed.out).as_posix()
        is_named = (code != 0 and name_of_it in printed + complaints) or f"{name_of_it}: {TORN}" in printed
        assert is_named or _is_spare(disturbed.out, path), (where, printed, complaints)
        if code:
            measured.told = measured.told or [line for line in printed.splitlines() if name_of_it in line][:1]
            code, printed, complaints = finish(disturbed.processes.start("repair", disturbed.out))
            assert (code, complaints) == (0, ""), (where, printed)
        code, printed, complaints = disturbed.undisturbed()
        assert code == 0, (where, complaints)
    assert ends.whole(aside=SET_ASIDE) == ""


def _may_be_damaged(out: Path, path: Path) -> bool:
    """Whether it is a file that holds something, and was not set aside."""
    name = path.relative_to(out).as_posix()
    is_one_of_its_own = name != LOCK and not name.endswith(".tmp") and not re.fullmatch(SET_ASIDE, name)
    return is_one_of_its_own and path.is_file() and path.stat().st_size > 0


def _is_spare(out: Path, path: Path) -> bool:
    """Whether nobody needs the file: one of a pack that is over; or it is gone, and is written anew (the copy of
    `study.yaml`), or its pack begins anew."""
    name = path.relative_to(out).as_posix()
    if not name.startswith("checkpoints/"):
        return name == COPY and not path.exists()
    return not path.exists() or (path.stem.startswith("pack") and not path.with_suffix(".json").exists())
