"""Bundles: a trained model in a folder, with all that is known of it and what its remedies keep.

`write` writes one, `load` gives the `Model` that answers from one, `of_pack` one that was just trained; `continue_`
trains its next task.
"""

from cfsweep.bundle.continued import continue_
from cfsweep.bundle.described import Origin, origin_of
from cfsweep.bundle.manifest import Manifest, read_manifest
from cfsweep.bundle.model import Model, load, of_pack
from cfsweep.bundle.writer import write, write_of

__all__ = [
    "Manifest",
    "Model",
    "Origin",
    "continue_",
    "load",
    "of_pack",
    "origin_of",
    "read_manifest",
    "write",
    "write_of",
]
