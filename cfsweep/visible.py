"""Text of others as it is shown: nothing in it is obeyed by a terminal, nor stands where it does not belong."""

from __future__ import annotations

import re

# Controls (escape sequences begin with one), what turns the direction of writing, ends of lines, halves of pairs.
_OBEYED = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def visible(text: object, keep: str = "") -> str:
    """`text` in which each character that a terminal or a reader would obey is written as in Python, but for those in
    `keep`.

    >>> visible("a\\x1b[2J\\n"), visible("a\\nb\\a", keep="\\n")
    ('a\\\\x1b[2J\\\\n', 'a\\nb\\\\x07')
    """
    return _OBEYED.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], str(text))
