"""Files of tensors with their SHA-256 at the end: torch does not notice that a bit has flipped."""

from __future__ import annotations

import hashlib
from typing import IO

DIGEST_BYTES = hashlib.sha256().digest_size


def write_sealed(content: bytes, file: IO[bytes]) -> None:
    """Writes the content, and its SHA-256 behind it."""
    file.writelines((content, hashlib.sha256(content).digest()))


def unsealed(content: bytes) -> bytes | None:
    """What was written; None if the file is no longer that.

    >>> import io
    >>> write_sealed(b"weights", file := io.BytesIO())
    >>> unsealed(file.getvalue()), unsealed(file.getvalue()[:-1])
    (b'weights', None)
    """
    written, digest = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
    return written if hashlib.sha256(written).digest() == digest else None
