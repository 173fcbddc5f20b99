"""Distributed sweeps for the remedies against catastrophic forgetting.

Importing this package loads neither torch nor ray: `cfsweep --help` stays quick. What it offers is loaded when it is
first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cfsweep.version import VERSION

if TYPE_CHECKING:
    from cfsweep.bundle import Model, load
    from cfsweep.errors import CfsweepError, InputError
    from cfsweep.library.adopted import adopt
    from cfsweep.library.gates import Gate, gate
    from cfsweep.library.models import Confirmed, confirm, continue_, export, export_state, log
    from cfsweep.library.predictions import predict
    from cfsweep.library.sweeps import Sweep, resume, sweep
    from cfsweep.library.trainings import Training, train
    from cfsweep.training.plugins import trusting

__version__ = VERSION
__all__ = [
    "CfsweepError",
    "Confirmed",
    "Gate",
    "InputError",
    "Model",
    "Sweep",
    "Training",
    "adopt",
    "confirm",
    "continue_",
    "export",
    "export_state",
    "gate",
    "load",
    "log",
    "predict",
    "resume",
    "sweep",
    "train",
    "trusting",
]
_ROOMS = {
    "cfsweep.bundle": ("Model", "load"),
    "cfsweep.errors": ("CfsweepError", "InputError"),
    "cfsweep.library.adopted": ("adopt",),
    "cfsweep.library.gates": ("Gate", "gate"),
    "cfsweep.library.models": ("Confirmed", "confirm", "continue_", "export", "export_state", "log"),
    "cfsweep.library.predictions": ("predict",),
    "cfsweep.library.sweeps": ("Sweep", "resume", "sweep"),
    "cfsweep.library.trainings": ("Training", "train"),
    "cfsweep.training.plugins": ("trusting",),
}


def __getattr__(name: str) -> Any:
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(import_module(room), name)
    raise AttributeError(f"module 'cfsweep' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
