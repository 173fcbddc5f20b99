"""What can be learned, by name; a stream says which of it (`Stream.target`)."""

from __future__ import annotations

import inspect
from dataclasses import replace

from cfsweep.errors import InputError, unknown
from cfsweep.training.plugins import current_folder_importable, imported, installed, path_of
from cfsweep.training.streams import Stream
from cfsweep.training.targets._base import Floats, Outputs, Score, Target
from cfsweep.training.targets._class_weights import class_weights
from cfsweep.training.targets._own_scores import own_score
from cfsweep.training.targets.classification import Classification
from cfsweep.training.targets.multi_label import MultiLabel
from cfsweep.training.targets.regression import Regression

__all__ = ["Floats", "Outputs", "Score", "Target", "class_weights", "registry", "scores_of", "target_of", "target_with"]

# Of the tables that hold the scores.
COLUMNS = ("study_id", "trial", "seed", "attempt", "after_task", "eval_task", "n_examples", "task", "step")
registry: dict[str, type[Target]] = {target.name: target for target in (Classification, MultiLabel, Regression)}


def target_of(name: str, where: str = "stream") -> Target:
    """The target called `name`: a built-in one, the entry point of an installed package, or `package.module:Class`.

    Raises:
        InputError: there is none, it cannot be imported, or it is not whole.
    """
    if name in registry:
        return registry[name]()
    path = path_of("targets", name)
    if path is None:
        raise unknown(where, "target", name, [*registry, *installed("targets")])
    place = f"{where}: target `{name}`"
    with current_folder_importable():
        found = imported(path, place, "class")
    return checked_target(found, place)()


def scores_of(stream: Stream) -> tuple[Score, ...]:
    """What is measured of a stream, the score that steers first: those that it names, built-in ones of its target or
    `package.module:function`, or else the target's first one.

    Raises:
        InputError: the target has no such score, one is named twice, or one's own cannot be imported.
    """
    target, where = target_of(stream.target), f"stream `{stream.name}`"
    known, found = {score.name: score for score in target.scores}, []
    for name in stream.scores:
        if name.rpartition(":")[2] in COLUMNS:
            raise InputError(f"{where}: a score cannot be called as a column of its table, `{name}`. Rename it.")
        path = None if name in known else path_of("scores", name)
        if name not in known and path is None:
            raise unknown(where, "score", name, [*known, *installed("scores")])
        found.append(known[name] if path is None else own_score(path, f"{where}: score `{name}`"))
    if twice := [score.name for score in found if [one.name for one in found].count(score.name) > 1]:
        raise InputError(f"{where}: each score can be measured once, but `{twice[0]}` is named twice. Drop one.")
    chosen = tuple(found) or target.scores[:1]
    if stream.positive is None:
        return chosen
    if not target.has_classes:
        raise InputError(f"{where}: `positive` is a class, but the target `{stream.target}` has none. Leave it out.")
    positive = _positive(stream, where)
    return tuple(replace(score, positive=positive) if score.by_probability else score for score in chosen)


def _positive(stream: Stream, where: str) -> int:
    """The number of the positive class.

    Raises:
        InputError: there is no such class.
    """
    names = [str(label) for label in stream.class_ids or range(stream.n_classes)]
    if str(stream.positive) not in names:
        raise unknown(f"{where}: `positive`", "label", str(stream.positive), names)
    return names.index(str(stream.positive))


def target_with(score: str, where: str) -> str:
    """The name of the first target that has this score; of `package.module:function`, a score of one's own, that of
    the first of all.

    Raises:
        InputError: no target has it.
    """
    known = {one.name: name for name, target in reversed(registry.items()) for one in target.scores}
    if score not in known and path_of("scores", score) is None:
        raise unknown(where, "score", score, [*known, *installed("scores")])
    return known.get(score, next(iter(registry)))


def checked_target(found: object, where: str) -> type[Target]:
    """`found` as a class that a pack can use.

    Raises:
        InputError: it is no target, or lacks something.
    """
    if not (inspect.isclass(found) and issubclass(found, Target)):
        raise InputError(f"{where}: it must be a subclass of Target, but got {found!r}. Inherit Target.")
    lacking = [name for name in ("name", "summary", "has_classes", "scores") if not hasattr(found, name)]
    lacking += sorted(found.__abstractmethods__)
    if lacking:
        raise InputError(f"{where}: {found.__name__} must have {', '.join(lacking)}, but lacks it. Define it.")
    if not found.scores:
        raise InputError(f"{where}: {found.__name__} must have a score, but `scores` is empty. Give it one.")
    return found
