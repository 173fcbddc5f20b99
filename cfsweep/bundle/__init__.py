"""Bundles: a trained model in a folder, with all that is known of it and what its remedies keep.

`write` writes one, `Model` answers from one.
"""

from cfsweep.bundle.manifest import Manifest, read_manifest
from cfsweep.bundle.model import Model
from cfsweep.bundle.writer import write

__all__ = ["Manifest", "Model", "read_manifest", "write"]
