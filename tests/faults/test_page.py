"""The tables of docs/reliability.md, of records as the rounds leave them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.page import RELIABILITY
from tests.faults.page import Record, faults_table, load_table, write_faults

RECORD: Record = {
    "fault": "a worker is killed",
    "promised": "another one goes on",
    "test": "test_ray.py::test_a_worker_is_killed",
    "seed": 7,
    "outcome": "passed",
    "seconds": 30.0,
    "faults": 3,
    "runs": 12,
    "told": ["a worker died (1 so far)"],
}


def test_rounds_of_a_fault_are_a_row() -> None:
    page = faults_table([RECORD, {**RECORD, "seed": 8}, {**RECORD, "fault": "Ray is killed", "told": []}])
    _, _, one, two, *_, foot = page.splitlines()
    assert one == (
        "| a worker is killed | another one goes on | `test_ray.py::test_a_worker_is_killed` | 2 sweeps, 6 faults, "
        "24 runs as when trained alone. Told: a worker died (1 so far) |"
    )
    assert two.startswith("| Ray is killed | another one goes on | ")
    assert two.endswith(" | 1 sweep, 3 faults, 12 runs as when trained alone |")
    assert foot.startswith("Seeds 7, 8. `python -m tests.faults --rounds 2 --seed 7 --write`, ")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"outcome": "failed"}, "failed"),
        ({"outcome": "skipped"}, "skipped"),
        ({"faults": 0}, "has shown nothing"),
        ({"runs": 0}, "has shown nothing"),
    ],
)
def test_a_table_claims_nothing_that_was_not_seen(changed: Record, said: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- begin faults -->\nbefore\n<!-- end faults -->\n")
    with pytest.raises(ValueError, match=f"test_a_worker_is_killed {said} with seed 7"):
        write_faults([RECORD, RECORD | changed], page)
    assert "before" in page.read_text()
    write_faults([RECORD], page)
    assert "| a worker is killed |" in page.read_text()


def test_the_page_has_the_sections() -> None:
    for name in ("faults", "killed", "load"):
        assert f"<!-- begin {name} -->\n" in RELIABILITY.read_text()


def test_a_load_is_a_table_of_tenths() -> None:
    names = (
        "driver_mb",
        "worker_mb",
        "broker_mb",
        "driver_files_open",
        "parts",
        "checkpoints",
        "temporary",
        "sessions",
    )
    seen = [{"at_s": 60.0 * k, "folder_mb": 1.5, **dict.fromkeys(names, float(k))} for k in range(1, 11)]
    killed = {"driver": 2, "worker": 5}
    about = {"trials": 2000, "minutes": 10.0, "seed": 3, "epochs": 40}
    found = {**about, "killed": killed, "retrained": 40, "ended": 1, "seen": seen}
    table = load_table(found)
    assert table.startswith("2,000 trials in 10 minutes; killed meanwhile: driver 2, worker 5; 1 times the")
    assert "| 10 | 10 | 10 | 10 | 10 | 10 | 10 | 10 | 10 | 1.5 |" in table
