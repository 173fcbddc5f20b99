"""Bundles: a trained model in a folder, with all that is known of it and what its remedies keep.

`write` writes one, `load` gives the `Model` that answers from one, `of_pack` one that was just trained.
"""

from cfsweep.bundle.manifest import Manifest, read_manifest
from cfsweep.bundle.model import Model, load, of_pack
from cfsweep.bundle.writer import write

__all__ = ["Manifest", "Model", "load", "of_pack", "read_manifest", "write"]
