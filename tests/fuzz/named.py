"""Cases that once failed, by name."""

from __future__ import annotations

from tests.fuzz.kinds import Case

CASES: dict[str, Case] = {}
