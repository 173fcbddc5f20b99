"""The benchmark of the ledger runs; its times are not judged here."""

from __future__ import annotations

import re
import sys

import pytest

from benchmarks import ledger


def test_it_prints_both_ratios(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ledger", "--commits", "3", "--repeats", "1"])
    ledger.main()
    printed = capsys.readouterr().out
    assert len(re.findall(r"ms with the ledger, [\d.]+ ms without, ratio [\d.]+$", printed, re.MULTILINE)) == 2
    assert re.search(r"^ledger: \d+ bytes a commit$", printed, re.MULTILINE)
