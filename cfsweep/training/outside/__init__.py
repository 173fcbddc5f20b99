"""A trainer from outside: a function of the user's that trains one task of one run, in whatever way.

`TrainFunction` is what the function must be; docs/outside-trainer.md describes it for whoever writes one.
"""

from cfsweep.training.outside.answer import Answer, answer_of
from cfsweep.training.outside.function import Scores, State, TrainFunction, called, function_at
from cfsweep.training.outside.saved import Saved, handed, saved, unpack
from cfsweep.training.outside.tasks import score_returned, tasks_named, tasks_told
from cfsweep.training.outside.trainer import OutsideTrainer, read_checkpoint

__all__ = [
    "Answer",
    "OutsideTrainer",
    "Saved",
    "Scores",
    "State",
    "TrainFunction",
    "answer_of",
    "called",
    "function_at",
    "handed",
    "read_checkpoint",
    "saved",
    "score_returned",
    "tasks_named",
    "tasks_told",
    "unpack",
]
