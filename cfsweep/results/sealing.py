"""Lines and files that say of themselves whether they are as they were written.

A line of JSON ends with `check`, a digest of the rest of it and of what it follows on; a text begins with a comment
that has the SHA-256 of all that comes after; a record has that of all else in it. All are what they were for whoever
does not look at them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

CHECK_DIGITS = 16
_SEALED = re.compile(rb'(\{.*),"check":"([0-9a-f]{%d})"\}\n?' % CHECK_DIGITS, re.DOTALL)
_FIRST_LINE = re.compile(rb"# sha256: ([0-9a-f]{64})\n")


def sealed_line(body: bytes, before: Hash | None = None) -> tuple[bytes, str]:
    """The line for the JSON object `body`, and its check; `before` has taken in what it follows on.

    >>> line, check = sealed_line(b'{"a":1}')
    >>> line
    b'{"a":1,"check":"015abd7f5cc57a2d"}\\n'
    >>> opened_line(line) == (b'{"a":1}', check), opened_line(b'{"a":1}')
    (True, None)
    """
    found = hashlib.sha256() if before is None else before.copy()
    found.update(body)
    check = found.hexdigest()[:CHECK_DIGITS]
    return b'%s,"check":"%s"}\n' % (body[:-1], check.encode()), check


def opened_line(line: bytes) -> tuple[bytes, str] | None:
    """The object in a line, and the check that it states; None of a line that has none."""
    found = _SEALED.fullmatch(line)
    return None if found is None else (found[1] + b"}", found[2].decode())


def sealed_text(text: bytes) -> bytes:
    """`text` behind a first line that has its SHA-256."""
    return b"# sha256: %s\n%s" % (hashlib.sha256(text).hexdigest().encode(), text)


def fault_of_text(content: bytes, is_sealed: bool) -> str | None:
    """What is wrong with a text that says by itself, or else by `is_sealed`, that it was sealed; None if nothing is.

    >>> whole = sealed_text(b"trials: 8\\n")
    >>> fault_of_text(whole, True), fault_of_text(whole.replace(b"8", b"9"), True)
    (None, 'altered: it is not what the SHA-256 in its first line is of')
    >>> fault_of_text(b"trials: 8\\n", True), fault_of_text(b"trials: 8\\n", False)
    ('altered: its first line, with the SHA-256 of the rest, is gone', None)
    """
    found = _FIRST_LINE.match(content)
    if found is None:
        return "altered: its first line, with the SHA-256 of the rest, is gone" if is_sealed else None
    if hashlib.sha256(content[found.end() :]).hexdigest().encode() != found[1]:
        return "altered: it is not what the SHA-256 in its first line is of"
    return None


def sealed_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping that JSON can hold, with the SHA-256 of all that is in it.

    >>> sealed_record({"trial": 8})
    {'trial': 8, 'sha256': '0b34dcdf362157309707725e7fb515057d474be889029090a135c2f9e5c11191'}
    """
    return {**record, "sha256": _sha256_of(record)}


def fault_of_record(record: Mapping[str, Any]) -> str | None:
    """What is wrong with a record that says by itself that it was sealed; None if nothing is.

    >>> whole = sealed_record({"trial": 8, "rule": "plasticity"})
    >>> fault_of_record(whole), fault_of_record({**whole, "trial": 9}), fault_of_record({"trial": 9})
    (None, 'altered: it is not what its `sha256` is of', None)
    """
    rest = {key: value for key, value in record.items() if key != "sha256"}
    if rest.keys() == record.keys() or _sha256_of(rest) == record["sha256"]:
        return None
    return "altered: it is not what its `sha256` is of"


def _sha256_of(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
