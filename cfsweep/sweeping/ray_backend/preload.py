"""What each Ray process on this machine loads as soon as it starts, before there is work: seconds of imports."""

from __future__ import annotations

import os

from cfsweep.sweeping.ray_backend.cluster import NOT_FOR_PACKS

if NOT_FOR_PACKS not in os.environ:
    import cfsweep.sweeping.ray_backend.trainable  # noqa: F401
