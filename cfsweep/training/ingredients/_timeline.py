"""What the pieces make of an ingredient: its family, what it reads, and when the loop calls it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from cfsweep.training.ingredients._base import Ingredient
from cfsweep.training.ingredients._pieces import (
    ActiveClasses,
    BatchLoss,
    Buffered,
    BufferedOnline,
    Classifier,
    ClosedForm,
    Consolidation,
    Cut,
    Distillation,
    Generator,
    LossShares,
    MixedReplay,
    Partition,
    Penalty,
    Projection,
    RateByStep,
    RateByWeight,
    ReplayLoss,
    StepObserver,
    StopRule,
    TaskStart,
    TaskWeights,
)

FAMILIES: dict[str, tuple[type[Ingredient], ...]] = {
    "penalty": (Penalty,),
    "rehearsal": (Buffered, BufferedOnline, Generator),
    "closed form": (ClosedForm,),
    "distillation": (Distillation,),
    "partition": (Partition,),
    "schedule": (RateByStep, RateByWeight),
    "stop rule": (StopRule,),
    "other": (Ingredient,),
}


def family_of(kind: type[Ingredient]) -> str:
    """The first family with a piece that the ingredient inherits."""
    return next(family for family, pieces in FAMILIES.items() if issubclass(kind, pieces))


class Read(NamedTuple):
    """Something that an ingredient reads beside the training examples of the current task; `kept`: it has to be kept
    from task to task, and is in `stored_bytes`."""

    what: str
    kept: bool = True


READ_BY_PIECE: dict[type[Ingredient], Read] = {
    Penalty: Read("keeps old weights"),
    Buffered: Read("keeps old examples"),
    BufferedOnline: Read("keeps old examples"),
    Generator: Read("keeps a generator of old examples, and the previous network, which labels them"),
    ClosedForm: Read("keeps statistics of the features of old examples"),
    Distillation: Read("keeps the previous network"),
    TaskWeights: Read("keeps weights or a mask for each task"),
}


def reads_of(kind: type[Ingredient]) -> tuple[Read, ...]:
    """All that the ingredient reads beside the training examples of the current task, as its pieces declare it.

    >>> class Patience(StopRule):
    ...     looks_at_old = True
    >>> reads_of(Patience)
    (Read(what='looks at held-out examples of all tasks so far, and keeps them', kept=True),)
    """
    found = [read for piece, read in READ_BY_PIECE.items() if issubclass(kind, piece)]
    if issubclass(kind, StopRule):
        current = Read("looks at held-out examples of the current task", kept=False)
        old = Read("looks at held-out examples of all tasks so far, and keeps them")
        found.append(old if kind.looks_at_old else current)
    elif not found and kind.initial_state is not Ingredient.initial_state:
        found.append(Read("keeps a state of its own"))
    return tuple(found)


Piece = TypeVar("Piece", bound=Ingredient)


class Timeline:
    """The ingredients of a trial by what they do, in the order in which a task meets them (* from the second one on).

    Before all of it, when the network is built, comes `Extension`.
    """

    def __init__(self, ingredients: Sequence[Ingredient]) -> None:
        def those(piece: type[Piece]) -> tuple[Piece, ...]:
            return tuple(ingredient for ingredient in ingredients if isinstance(ingredient, piece))

        # Before the first step.
        self.task_starts = those(TaskStart)  # *
        self.mixed_replays = those(MixedReplay)
        self.replay_losses = those(ReplayLoss)  # *; each with its source (* but for a `BufferedOnline`)
        self.active_classes = those(ActiveClasses)  # *
        self.loss_shares = those(LossShares)  # *
        self.rates_by_weight = those(RateByWeight)
        self.stop_rules = those(StopRule)  # check number 0
        self.partitions = those(Partition)  # again whenever a run has finished the task, and after a cut
        # Each step: the loss (the batch's, then distillations, then replay losses), its gradient, the update.
        self.batch_losses = those(BatchLoss)
        self.distillations = those(Distillation)  # *
        self.penalties = those(Penalty)  # *
        self.projections = those(Projection)  # *
        self.rates_by_step = those(RateByStep)
        self.step_observers = those(StepObserver)
        self.buffered_online = those(BufferedOnline)
        # Between steps: the stop rules, then a cut.
        self.cuts = those(Cut)
        # After the last step.
        self.consolidations = those(Consolidation)
        self.closed_forms = those(ClosedForm)
        self.task_weights = those(TaskWeights)  # when a finished task is evaluated
        self.classifiers = those(Classifier)  # whenever one is, within a task too; a closed form after tasks alone
        self.buffered = those(Buffered)  # each is offered what `RankedBuffer` says, if it is one
