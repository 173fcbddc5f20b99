"""Remedies as plain modules, for a training loop of one's own over one model.

Each is an ingredient of the sweeps (`cfsweep.training.ingredients`) at work on one `nn.Module`: the same code, the same
numbers. docs/modules.md shows them in use. Their state comes from a bundle (`open_bundle`, `load_bundle`) and goes into
one (`save_bundle`). `to_named` and `from_named` turn an ingredient's flat state into tensors by the parameters' names,
as they are in a module's `state_dict`, and back.
"""

from cfsweep.modules.buffer import ReservoirBuffer
from cfsweep.modules.bundles import NextTask, open_bundle, save_bundle
from cfsweep.modules.distillation import DistillationLoss
from cfsweep.modules.ewc import EWCPenalty
from cfsweep.modules.l2_sp import L2SPPenalty
from cfsweep.modules.mas import MASPenalty
from cfsweep.modules.packnet import Capacity, PackNetMasks
from cfsweep.modules.si import SIPenalty
from cfsweep.training.engine.named_state import from_named, to_named

__all__ = [
    "Capacity",
    "DistillationLoss",
    "EWCPenalty",
    "L2SPPenalty",
    "MASPenalty",
    "NextTask",
    "PackNetMasks",
    "ReservoirBuffer",
    "SIPenalty",
    "from_named",
    "open_bundle",
    "save_bundle",
    "to_named",
]
