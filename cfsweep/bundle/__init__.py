"""Bundles: a trained model in a folder, with all that is known of it and what its remedies keep.

`write` writes one, `Model` answers from one, `continue_` trains its next task.
"""

from cfsweep.bundle.continued import continue_
from cfsweep.bundle.manifest import Manifest, read_manifest
from cfsweep.bundle.model import Model
from cfsweep.bundle.writer import write

__all__ = ["Manifest", "Model", "continue_", "read_manifest", "write"]
