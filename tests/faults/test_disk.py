"""A disk that is full, or becomes one that can only be read."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.conftest import Ends, Measured
from tests.faults.disturbed import Disturbed
from tests.faults.verdict import own_lines, told
from tests.sweeping.command import finish

NO_ROOM = r"cfsweep: .*: no space left on device(?: for [\d,]+ kB)?"
WAITS = NO_ROOM + r"\. The sweep waits (\d+) s for room; what was trained is not lost by that"
AGAIN = "cfsweep: there is room again; the sweep goes on"
pytestmark = pytest.mark.slow


class SmallDisk:
    """A file system of a few megabytes at `path`; what fills it lies in it."""

    def __init__(self, path: Path) -> None:
        self.path, self.ballast = path, path / "ballast"

    def mount(self, options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"this machine lets no small file system be mounted ({made.stderr.strip()})")

    @contextmanager
    def only_read(self) -> Iterator[None]:
        """Within it, nothing that is opened by its path can be written to."""
        subprocess.run(["mount", "--bind", str(self.path), str(self.path)], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(self.path)], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", str(self.path)], check=True)

    def fill(self) -> None:
        """Until not one byte more has room."""
        with self.ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"\0" * 4096)
        with pytest.raises(OSError, match="No space left"):
            (self.path / "more").write_bytes(b"\0")
        (self.path / "more").unlink()

    def fill_names(self) -> None:
        """Until no file more can be made."""
        self.ballast.mkdir()
        for number in range(100_000):
            try:
                (self.ballast / str(number)).touch()
            except OSError:
                return


@pytest.fixture
def small(disturbed: Disturbed) -> Iterator[SmallDisk]:
    """The study lies on it."""
    place = disturbed.out.parent / "small"
    place.mkdir()
    disturbed.out = place / "study"
    yield SmallDisk(place)
    subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)


@pytest.mark.fault(
    "the disk of the results is full for a while, several times",
    "what must be written waits, which is said, and goes on when there is room",
)
def test_a_disk_that_is_full_for_a_while(
    disturbed: Disturbed, ends: Ends, measured: Measured, small: SmallDisk
) -> None:
    small.mount("size=3m")
    process = disturbed.start()
    for _ in range(disturbed.rng.randint(1, 3)):
        disturbed.moment(process, latest=3, earliest=1)
        small.fill()
        measured.faults += 1
        time.sleep(disturbed.rng.uniform(3.0, 8.0))
        small.ballast.unlink()
    complaints = ends.whole(finish(process))
    measured.told = own_lines(complaints)[:1]
    told(complaints, *[WAITS, AGAIN] * max(1, len(own_lines(complaints)) // 2))


@pytest.mark.fault(
    "the disk of the results stays full",
    "one line and exit code 4 after `--patience`; `resume` goes on once there is room",
)
def test_a_disk_that_stays_full(disturbed: Disturbed, ends: Ends, measured: Measured, small: SmallDisk) -> None:
    small.mount("size=3m")
    process = disturbed.start("--patience", "2")
    disturbed.moment(process, earliest=1)
    small.fill()
    code, _, complaints = finish(process)
    assert code == 4, complaints
    ended = NO_ROOM + r", and no room within 2 s\. Make room; `cfsweep resume` goes on, as does `cfsweep confirm`\."
    told(complaints, WAITS, ended)
    measured.faults, measured.told = 1, complaints.splitlines()[1:]
    small.ballast.unlink()
    assert ends.whole() == ""


@pytest.mark.fault("no file more can be made there (inodes)", "as where it is full")
def test_a_disk_on_which_no_file_can_be_made(
    disturbed: Disturbed, ends: Ends, measured: Measured, small: SmallDisk
) -> None:
    small.mount("size=3m,nr_inodes=120")
    process = disturbed.start()
    disturbed.moment(process, latest=3, earliest=1)
    small.fill_names()
    measured.faults = 1
    time.sleep(disturbed.rng.uniform(3.0, 8.0))
    subprocess.run(["rm", "-r", str(small.ballast)], check=True)
    complaints = ends.whole(finish(process))
    measured.told = own_lines(complaints)[:1]
    told(complaints, *[WAITS, AGAIN] * max(1, len(own_lines(complaints)) // 2))


@pytest.mark.fault(
    "the folder of the results can only be read all of a sudden", "one line, exit code 2; `resume` goes on"
)
def test_a_folder_that_can_only_be_read(disturbed: Disturbed, ends: Ends, measured: Measured, small: SmallDisk) -> None:
    small.mount("size=3m")
    process = disturbed.start()
    disturbed.moment(process, earliest=1)
    with small.only_read():
        code, _, complaints = finish(process)
    assert code == 2, complaints
    told(complaints, r"cfsweep: .*[Rr]ead-only file system.*")
    measured.faults, measured.told = 1, complaints.splitlines()
    assert ends.whole() == ""


@pytest.mark.fault(
    "the folder of what is temporary (/tmp) is full", "nothing, or one line and exit code 2; `resume` goes on"
)
def test_a_full_tmp(disturbed: Disturbed, ends: Ends, measured: Measured) -> None:
    small = SmallDisk(disturbed.temporary)
    small.mount("size=30m")
    try:
        process = disturbed.start()
        disturbed.moment(process)
        small.fill()
        measured.faults = 1
        code, _, complaints = finish(process)
        assert code in (0, 2), complaints
        told(complaints, *[r"cfsweep: (?!a file: ).*"] * (1 if code else 0))  # it says which
        measured.told = own_lines(complaints)
        small.ballast.unlink()
        assert ends.whole() == ""
    finally:
        subprocess.run(["umount", "-l", str(small.path)], check=False)
