"""A journal's lines vouch for themselves and for all before them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cfsweep.errors import InputError
from cfsweep.sweeping.search.lines import SealedLines

OPERATIONS = [b'{"op_code":%d,"worker_id":"w","study_id":0}' % k for k in range(4)]


def read(lines: list[bytes]) -> list[bytes]:
    reader = SealedLines(Path("study/journal.jsonl"))
    return [reader.read(line).rstrip(b"\n") for line in lines]


def sealed() -> list[bytes]:
    content, _ = SealedLines(Path("j")).sealed(OPERATIONS)
    return content.splitlines(keepends=True)


def test_what_was_written_is_read() -> None:
    assert read(sealed()) == OPERATIONS
    first, after = SealedLines(Path("j")).sealed(OPERATIONS[:2])
    second, _ = after.sealed(OPERATIONS[2:])
    assert (first + second).splitlines(keepends=True) == sealed()


@pytest.mark.parametrize("at", range(4))
def test_no_bit_can_change_and_no_line_go(at: int) -> None:
    lines = sealed()
    for place in range(len(lines[at]) - 1):
        turned = bytearray(lines[at])
        turned[place] ^= 4
        with pytest.raises(
            InputError, match=rf"^study/journal\.jsonl: line ({at + 1}|{at + 2}) is altered.*cfsweep repair"
        ):
            read([*lines[:at], bytes(turned), *lines[at + 1 :]])
    if at < 3:
        with pytest.raises(InputError, match=rf"line {at + 1} is altered, or one before it, or such are gone"):
            read(lines[:at] + lines[at + 1 :])


def test_lines_of_earlier_versions_and_of_other_programs_are_taken_and_vouched_for() -> None:
    old = [b"%s\n" % line for line in OPERATIONS[:2]]
    reader = SealedLines(Path("j"))
    for line in old:
        reader.read(line)
    content, _ = reader.sealed(OPERATIONS[2:3])
    assert read([*old, content]) == OPERATIONS[:3]
    with pytest.raises(InputError, match="line 3 is altered, or one before it"):
        read([old[0], old[1].replace(b"w", b"v"), content])
    note = b'{"op_code":2,"worker_id":"dashboard","study_id":0,"user_attr":{"note":1}}\n'
    assert read([*old, content, note])[-1] == note.rstrip(b"\n")
    with pytest.raises(InputError, match="line 4 is altered"):
        read([*old, content, note.replace(b"user_attr", b"tser_attr")])
