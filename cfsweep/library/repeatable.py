"""What has to be set before torch is loaded, so that this process and a worker compute the same bits."""

from __future__ import annotations

import os


def repeatable() -> None:
    """Asks MKL for results that do not hang on where in memory an array lies. It looks once, when it is loaded: where
    torch is there already, nothing changes any more, and numbers may differ from a worker's in the last place."""
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")
