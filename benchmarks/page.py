"""The pages of measured claims: each benchmark writes its own section, and leaves the others as they are."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from cfsweep.files import git_revision

DOCS = Path(__file__).parent.parent / "docs"
PERFORMANCE, RELIABILITY = DOCS / "performance.md", DOCS / "reliability.md"


def put_section(page: Path, name: str, markdown: str) -> None:
    """Replaces what lies between the marks of section `name` by `markdown`; the page must have the marks.

    Raises:
        ValueError: it has not.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    text = page.read_text()
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"{page} needs the marks `{begin}` and `{end}`, once each, in this order")
    before, after = text[: text.index(begin)], text[text.index(end) :]
    page.write_text(f"{before}{begin}\n{markdown.strip()}\n{after}")


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of text cells; the first column is aligned to the left, the others to the right.

    >>> print(markdown_table(["peer", "s"], [["plain", "5.2"]]))
    | peer | s |
    |---|---:|
    | plain | 5.2 |
    """
    lines = [headings, ["---", *("---:" for _ in headings[1:])]]
    return "\n".join(
        [
            "| " + " | ".join(lines[0]) + " |",
            "|" + "|".join(lines[1]) + "|",
            *("| " + " | ".join(row) + " |" for row in rows),
        ]
    )


def measured_on(command: str) -> str:
    """One line for the foot of a section: the command, the day, the machine and the revision."""
    processor = _processor()
    device = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    revision = git_revision(Path(__file__).parent) or "no checkout"
    return (
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, {processor}, {os.cpu_count()} cores{device}, "
        f"torch {torch.__version__.partition('+')[0]}, revision {revision[:7]}."
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()
