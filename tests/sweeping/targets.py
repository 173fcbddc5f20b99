"""Targets of the user's own."""

from __future__ import annotations

from cfsweep.training.targets import Score
from cfsweep.training.targets.classification import Classification


class OwnLabels(Classification):
    """Classes, as the built-in target has them."""

    name = "own-labels"


class Backwards(OwnLabels):
    """Its accuracy is called something else."""

    name = "backwards"
    scores = (Score("hits", Classification.scores[0].of, (0.0, 1.0)), *Classification.scores)


class Misses(OwnLabels):
    """What it calls accuracy is the better the lower."""

    name = "misses"
    scores = (Score("accuracy", Classification.scores[0].of, (0.0, 1.0), higher_is_better=False),)


class Unclassed(OwnLabels):
    """It says of its labels that they are no classes."""

    name = "unclassed"
    has_classes = False
