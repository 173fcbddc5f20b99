"""A study that a trainer from outside trains: checked, tried out, and described."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cfsweep.config import PARTS, StreamConfig, StudyConfig
from cfsweep.errors import InputError, first_line, raised_in
from cfsweep.hypers import Hyper
from cfsweep.sweeping.notes import repetition_note
from cfsweep.sweeping.space import reference_values
from cfsweep.training import own_code
from cfsweep.training.outside import (
    OutsideTrainer,
    answer_of,
    called,
    function_at,
    score_returned,
    tasks_named,
    tasks_told,
)
from cfsweep.training.spec import PackSpec, RunSpec
from cfsweep.training.streams import Stream
from cfsweep.training.targets import scores_of

TRIED = 2  # tasks


def checked(config: StudyConfig, where: str) -> StudyConfig:
    """The study with what follows from its trainer: it has no references, which cfsweep could not train.

    Raises:
        InputError: it asks for what only cfsweep's own training can give.
    """
    trainer, stream, objective = str(config.space.trainer), config.stream, config.objective
    said = {name: getattr(stream, name) for name in ("scenario", "n_tasks", "data", "scores")}
    usual = StreamConfig(name=trainer, **said)
    for key in StreamConfig.model_fields:
        if getattr(stream, key) != getattr(usual, key):
            raise InputError(
                f"{where}: `stream.{key}` is of the streams that cfsweep loads, but `trainer: {trainer}` has data of "
                "its own. Leave it out; `stream.n_tasks`, `--scenario` and `--score` may be said."
            )
    if len(stream.scores) > 1:
        raise InputError(
            f"{where}: a trainer from outside returns one score, but got --score {','.join(stream.scores)}. Name one."
        )
    if objective.third in ("stored_bytes", "n_parameters"):
        raise InputError(
            f"{where}: `objective.third={objective.third}` is not known of a trainer from outside. Take `train_s`."
        )
    if config.curve_points_per_task:
        raise InputError(f"{where}: a trainer from outside has no `curve_points_per_task`. Leave it out.")
    return config.model_copy(update={"references": False})


def tasks_of(
    config: StudyConfig, hypers: Mapping[str, Hyper], where: str, begun: Mapping[str, Any] | None = None
) -> Stream:
    """The tasks that the trainer has, as a stream without examples: as `study.yaml` of a study that has `begun` with
    the same code says, or else as a try-out tells.

    Raises:
        InputError: the trainer does something else than a `TrainFunction`, or has less than two tasks.
    """
    trainer = str(config.space.trainer)
    function_at(trainer)  # which loads what is hashed
    tasks = (begun or {}).get("tasks", [])
    same = begun is not None and begun["config"]["space"].get("trainer") == trainer
    if same and tasks and begun is not None and begun["code_sha256"] == code_of(trainer):
        told = {part: [task[f"n_{part}"] for task in tasks] for part in PARTS}
        return tasks_named(trainer, [task["name"] for task in tasks], told, config.stream.scores)
    return _tried_out(config, hypers, where)


def code_of(trainer: str) -> dict[str, str]:
    """The SHA-256 of each file that the trainer is made of."""
    found = own_code.digests([trainer.partition(":")[0]])
    return {file: digest for file, digest in found.items() if digest is not None}


def described_tasks(stream: Stream) -> list[dict[str, Any]]:
    """The tasks as `study.yaml` has them: 0 examples of a part that is not scored, null where they are not counted."""
    counts = {f"n_{part}": stream.told[part] for part in PARTS}
    return [
        {"name": task.name, "classes": [], **{n: of[k] for n, of in counts.items()}}
        for k, task in enumerate(stream.tasks)
    ]


def refuse_refit(trainer: str) -> None:
    """
    Raises:
        InputError: always.
    """
    raise InputError(
        f"--refit: `trainer: {trainer}` cuts its data itself, and cfsweep cannot have it train on the validation data, "
        "too. Confirm without it."
    )


def refuse_untested(root: Path, stream: Stream) -> None:
    """
    Raises:
        InputError: the trainer returns no test scores, so that nothing can be confirmed.
    """
    if 0 in stream.told["test"]:
        raise InputError(
            f"{root}: its trainer returns no scores on test data, which confirm. Start a new study with one that "
            'returns {"validation": [...], "test": [...]}.'
        )


def outside_notes(config: StudyConfig, hypers: Mapping[str, Hyper], stream: Stream) -> tuple[str, ...]:
    """One line for each thing about the study that its user should know."""
    untested = "the trainer returns no `test` scores: `cfsweep confirm` will need them"
    uncounted = (
        "nobody is stopped, as the trainer does not say of how many examples its scores are: return `n_validation`, too"
    )
    is_moved = scores_of(stream)[0].variance is not None  # by chance, as far as can be said
    stops = config.stop_trials and config.objective.name == "pareto" and config.objective.third is None
    found = (
        "a trainer from outside has no references: make its plain training a setting, and give that its choices",
        untested if 0 in stream.told["test"] else None,
        uncounted if stops and is_moved and None in stream.told["validation"] else None,
        repetition_note(config, hypers),
    )
    return tuple(note for note in found if note)


def _tried_out(config: StudyConfig, hypers: Mapping[str, Hyper], where: str) -> Stream:
    """The tasks, as the first two of them tell, trained with the settings of trial 0; between them it goes through a
    checkpoint, as when it is resumed."""
    trainer, values = str(config.space.trainer), reference_values(config.space, hypers)
    scores, score = config.stream.scores, score_returned(trainer, config.stream.scores)
    run = RunSpec(0, config.first_seed, values)
    spec = PackSpec(config.space.network, config.stream.scenario, (), (run,), parts=config.parts[:1], trainer=trainer)
    try:
        returned = called(function_at(trainer), values, run.seed, 0, None)
        answer = answer_of(returned, f"trainer `{trainer}`, task 0", config.stream.n_tasks, score=score)
        n_tasks = answer.n_tasks
        if n_tasks < TRIED:
            raise InputError(
                f"{where}: the objective `{config.objective.name}` mixes old and new tasks and needs at least 2, but "
                f"the trainer scores n_tasks={n_tasks}. Score more tasks."
            )
        stream = tasks_told(trainer, answer, scores)
        first = OutsideTrainer(spec, stream)
        first.take_in(returned, 0)
        second = OutsideTrainer.restore(first.checkpoint(), stream)
        assert second is not None
        (record,) = second.train_next_task().records
    except InputError:
        raise
    except Exception as error:  # the user's function may raise anything
        raise InputError(
            f"trainer `{trainer}`: it fails on the first two tasks ({first_line(error)}; {raised_in(error)}). Mend it."
        ) from error
    if record.failure is not None:
        raise InputError(record.failure)
    return stream
