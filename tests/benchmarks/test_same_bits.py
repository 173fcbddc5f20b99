"""The guard against changed numbers sees a changed number, and none where nothing changed."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks import same_bits, same_bits_packs


def test_a_changed_rounding_shows_and_nothing_else_does(tmp_path: Path, project_root: Path) -> None:
    shutil.copytree(project_root / "cfsweep", tmp_path / "cfsweep", ignore=shutil.ignore_patterns("*.pyc"))
    (changed,) = (tmp_path / "cfsweep").rglob("optimizers.py")
    text = changed.read_text()
    assert text.count("1e-8") == 1
    changed.write_text(text.replace("1e-8", "1.01e-8"))  # of Adam alone, not of plain gradient descent
    here, other = same_bits.findings_of_all((project_root, tmp_path), every=59)
    packs = list(same_bits_packs.cases())[::59]
    assert list(here) == [case.name for case in packs]
    found = [line.partition(": ") for line in same_bits.differences(here, other)]
    adam = {case.name for case in packs if case.values.get("optimizer") != "sgd"}
    refused = {name for name, of in here.items() if "refused" in of}  # two ingredients that do not go together
    assert {name for name, _, _ in found} == adam - refused
    assert len(adam - refused) > 3
    assert all("weights" in parts for _, _, parts in found)


def test_the_set_is_without_repetition() -> None:
    names = [case.name for case in same_bits_packs.cases()]
    assert len(names) == len(set(names)) > 400
