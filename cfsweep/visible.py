"""Text of others as it is shown: nothing in it is obeyed by a terminal, nor stands where it does not belong."""

from __future__ import annotations

import re
import sys
from typing import TextIO

MOST_TOLD = 1900  # characters: a value in a line may be of any length
# Controls (escape sequences begin with one), what turns the direction of writing, ends of lines, halves of pairs, and
# what Unicode says is no character: U+FFFE, read the other way round, is a mark of byte order.
_NO_CHARACTERS = r"\ufdd0-\ufdef" + "".join(rf"\U{plane:04x}fffe\U{plane:04x}ffff" for plane in range(17))
_OBEYED = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff" + _NO_CHARACTERS + "]"
)


def visible(text: object, keep: str = "") -> str:
    """`text` in which each character that a terminal or a reader would obey is written as in Python, but for those in
    `keep`.

    >>> visible("a\\x1b[2J\\n"), visible("a\\nb\\a", keep="\\n"), visible("\\ufffe")
    ('a\\\\x1b[2J\\\\n', 'a\\nb\\\\x07', '\\\\ufffe')
    """
    return _OBEYED.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], str(text))


def tell(text: str, to: TextIO | None = None) -> None:
    """Says one line on standard error at once, whatever stands in `text`, up to `MOST_TOLD` characters of it; or `to` a
    stream that has taken its place."""
    line = " ".join(text.split())
    line = line if len(line) <= MOST_TOLD else f"{line[:MOST_TOLD]}…"
    print(f"cfsweep: {visible(line)}", file=to or sys.stderr, flush=True)
