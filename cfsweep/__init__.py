"""Distributed sweeps for the remedies against catastrophic forgetting.

Importing this package loads neither torch nor ray: `cfsweep --help` stays quick.
"""

__version__ = "0.1.0"
