"""Targets of the user's own."""

from __future__ import annotations

from cfsweep.training.targets.classification import Classification


class OwnLabels(Classification):
    """Classes, as the built-in target has them."""

    name = "own-labels"


class Unclassed(OwnLabels):
    """It says of its labels that they are no classes."""

    name = "unclassed"
    has_classes = False
