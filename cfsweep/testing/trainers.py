"""What every trainer from outside must do, as one check each, on whole runs.

A trainer is given by its import path, `package.module:function`, as a space names it.
"""

from __future__ import annotations

from collections.abc import Mapping

from cfsweep.config import NetworkConfig
from cfsweep.hypers import Value
from cfsweep.training.outside import OutsideTrainer, answer_of, called, function_at, score_returned, tasks_told
from cfsweep.training.spec import PackSpec, RunSpec
from cfsweep.training.streams import Stream

Matrix = list[list[float]]


def check_trainer(path: str, settings: Mapping[str, Value], seed: int = 0, score: str = "accuracy") -> None:
    """Makes every check of `TRAINER_CHECKS`, with these settings, of a trainer that returns this `score`; it takes as
    long as seven runs.

    Raises:
        AssertionError: a check fails; the note tells which one.
        InputError: there is no such function, or it returns something else than a `TrainFunction` does.
    """
    stream = _tasks(path, settings, seed, score)
    for check in TRAINER_CHECKS:
        try:
            check(path, settings, seed, stream)
        except AssertionError as error:
            error.add_note(f"the trainer `{path}` fails the check `{check.__name__}`: {check.__doc__}")
            raise


def the_same_call_gives_the_same_scores(path: str, settings: Mapping[str, Value], seed: int, stream: Stream) -> None:
    """All randomness comes from the seed and the task."""
    once, again = (_matrix(_run(path, settings, seed, stream)) for _ in range(2))
    assert once == again, f"{once} and {again}"


def it_goes_on_from_its_checkpoint(path: str, settings: Mapping[str, Value], seed: int, stream: Stream) -> None:
    """The state has all that the next task needs: a run that is resumed after each task is the run that was not."""
    trainer = _opened(path, settings, seed, stream)
    while not trainer.done:
        trainer.train_next_task()
        restored = OutsideTrainer.restore(trainer.checkpoint(), stream)
        assert restored is not None
        trainer = restored
    through, resumed = _matrix(_run(path, settings, seed, stream)), _matrix(trainer)
    assert resumed == through, f"{resumed} and {through}"


def it_does_not_depend_on_its_neighbours(path: str, settings: Mapping[str, Value], seed: int, stream: Stream) -> None:
    """Nothing is left behind in the process: runs that take turns in it come to the same as each alone."""
    one, other = (_opened(path, settings, number, stream) for number in (seed, seed + 1))
    while not (one.done and other.done):
        for trainer in (one, other):
            if not trainer.done:
                trainer.train_next_task()
    alone, in_turns = _matrix(_run(path, settings, seed, stream)), _matrix(one)
    assert in_turns == alone, f"{in_turns} and {alone}"


TRAINER_CHECKS = (
    the_same_call_gives_the_same_scores,
    it_goes_on_from_its_checkpoint,
    it_does_not_depend_on_its_neighbours,
)


def _tasks(path: str, settings: Mapping[str, Value], seed: int, score: str) -> Stream:
    returned = called(function_at(path), settings, seed, 0, None)
    answer = answer_of(returned, f"trainer `{path}`, task 0", score=score_returned(path, [score]))
    return tasks_told(path, answer, [score])


def _opened(path: str, settings: Mapping[str, Value], seed: int, stream: Stream) -> OutsideTrainer:
    run = RunSpec(0, seed, dict(settings))
    parts = tuple(part for part, counts in stream.told.items() if 0 not in counts)
    return OutsideTrainer(PackSpec(NetworkConfig(), "task-il", (), (run,), parts=parts, trainer=path), stream)


def _run(path: str, settings: Mapping[str, Value], seed: int, stream: Stream) -> OutsideTrainer:
    trainer = _opened(path, settings, seed, stream)
    while not trainer.done:
        trainer.train_next_task()
    return trainer


def _matrix(trainer: OutsideTrainer) -> list[Matrix]:
    """The validation and the test scores after each task, of a run that went all the way."""
    (record,) = trainer.report().records
    assert record.failure is None, record.failure
    return [record.validation[1:], record.test[1:]]
