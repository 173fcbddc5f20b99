"""What is wrong with how a call ended; None where nothing is."""

from __future__ import annotations

import re
import signal
import unicodedata
from collections.abc import Mapping
from pathlib import Path

from tests.fuzz.guard import RAISED, Ended

ANSWERS_NO = ("check", "select", "gate", "compare", "confirm", "export", "continue")
TRAINS = ("run", "resume", "confirm")
REFUSED = 2
TURNS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
_ODD = re.compile(r"Warning|Traceback|Error|: UserWarning|Exception ignored")


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of change of each file in a folder."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def fault(
    command: str, ended: Ended, before: Mapping[str, object], after: Mapping[str, object], writes: str | None
) -> str | None:
    """`before` and `after` are the files of the folder. `writes` is what the call was to write: a file or folder."""
    lines = ended.err.splitlines()
    if ended.code == RAISED:
        return f"an error came through: {_raised(lines)}"
    if ended.code < 0:
        return f"the process was ended by {signal.Signals(-ended.code).name}: too long, or too large"
    codes = {0, REFUSED, *([1] if command in ANSWERS_NO else ()), *([3] if command in TRAINS else ())}
    if ended.code not in codes:
        return f"exit code {ended.code}"
    if command == "check" and ended.code == 1 and not damaged_in(ended):
        return "damaged, but no line says what is"
    told = [line for line in lines if line.startswith("cfsweep: ")]
    if ended.code == REFUSED and len(told) != 1 and lines:
        return f"{len(told)} lines"
    odd = lines if ended.code == REFUSED else [line for line in lines if _ODD.search(line)]
    if strange := [line for line in odd if line not in told]:
        return f"a line that is not cfsweep's: {re.sub(r'0x[0-9a-f]+|[0-9]{4,}', '#', strange[0])[:150]}"
    if ended.code == REFUSED and not lines:
        return "refused without a word"
    if ended.code == 0 and not ended.out.strip():
        return "done without a word"
    if any(len(line) > 2000 for line in lines):
        return "a line of more than 2,000 characters"
    if any(map(is_obeyed, "".join(lines))):
        return "a line with control characters"
    if left := sorted(name for name in after.keys() - before.keys() if name.endswith(".tmp")):
        return f"a temporary file was left: {Path(left[0]).suffixes}"
    if ended.code == REFUSED and writes is not None:
        new = {name for name in after if before.get(name) != after[name] and Path(name).parts[0] == writes}
        if new and f"{writes}/study.yaml" not in after:
            return "refused, but half-written"
    return None


def damaged_in(checked: Ended) -> int:
    """How many damages `check` has counted, each of which has a line before that; 0 if it has not."""
    lines = checked.out.splitlines()
    found = re.match(r"([0-9]+) damaged", lines[-1]) if lines else None
    return int(found[1]) if found is not None and 0 < int(found[1]) < len(lines) else 0


def fault_of_repair(checked: Ended) -> str | None:
    """What is wrong with a folder that was repaired, and that `check` has then looked at: all but the choice of a
    trial, which is not a sweep's to mend."""
    of_choice = [line for line in checked.out.splitlines() if line.startswith("selection.json: ")]
    if checked.code == 0 or damaged_in(checked) == len(of_choice):
        return None
    said = [line for line in checked.out.splitlines() if line not in of_choice]
    return f"still damaged: {re.sub(r'[0-9a-f]{6,}', '#', (said or ['?'])[0])[:150]}"


def is_obeyed(char: str) -> bool:
    """Whether a terminal or a reader may do something else with a character than show it; joiners, spaces and what is
    newer than this Python are text."""
    if char.isprintable():
        return False
    is_control = unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")
    turns = unicodedata.bidirectional(char) in TURNS or char in "\u061c\u200e\u200f"
    is_none = ord(char) & 0xFFFE == 0xFFFE or 0xFDD0 <= ord(char) <= 0xFDEF
    return is_control or turns or is_none or char == "\ufeff"


def _raised(lines: list[str]) -> str:
    """The error's type, and the last place of ours in the traceback."""
    ours = [line.strip() for line in lines if re.search(r'File ".*/(cfsweep|analysis)/', line)]
    place = re.sub(r'File ".*?/((?:cfsweep|analysis)/.*?)", line (\d+)', r"\1:\2", ours[-1]) if ours else "?"
    kinds = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt|Warning|Invalid|Exit)\b", line)]
    return f"{(kinds or lines or ['?'])[-1][:120]} ({place})"
