"""What a user should know before a sweep starts, though none of it is an error."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from cfsweep.config import Choices, Range, Space, StudyConfig
from cfsweep.errors import few
from cfsweep.hypers import Hyper, Value
from cfsweep.results.imbalance import blind_note
from cfsweep.results.schema import n_reference_settings
from cfsweep.sweeping.blind_tasks import few_positives_note, unscored_note
from cfsweep.sweeping.references import reference_settings
from cfsweep.sweeping.space import default_within
from cfsweep.training.acting import idle
from cfsweep.training.constant_answer import majority_shares
from cfsweep.training.ingredients import (
    Buffered,
    BufferedOnline,
    ClosedForm,
    Generator,
    Penalty,
    ingredient_class,
    registry,
)
from cfsweep.training.ingredients.packnet import capacity_shares
from cfsweep.training.streams import Stream
from cfsweep.training.targets import scores_of, target_of

LEAST_SHARE = 0.05  # of the prunable weights: if the last task gets less, the user is told
_AT_ONCE = 2**16  # examples
SWAMPING = 100  # times the median deviation of a feature
REMEDIES = ("replay", "er-ace")  # of the ingredients that rehearse, those to advise in class-il


@dataclass(frozen=True)
class Capacity:
    """What one setting of PackNet leaves to each task: `shares` (T + 1,) of the prunable weights, free ones last."""

    label: str
    shares: tuple[float, ...]

    @property
    def of_last_task(self) -> float:
        return self.shares[-2]


def swamping_note(stream: Stream) -> str | None:
    """That one feature of flat data varies far more than the others as the network sees them, so that they vanish."""
    if len(stream.input_shape) != 1 or stream.input_shape[0] < 2:
        return None
    rows = torch.from_numpy(np.concatenate([task.train for task in stream.tasks]))
    deviations = _deviations(stream, rows)
    most, middle = float(deviations.max()), float(deviations[deviations > 0].median()) if deviations.any() else 0.0
    if most <= SWAMPING * middle:
        return None
    place = int(deviations.argmax())
    name = f"`{stream.features[place]}`" if stream.features else f"{place} (from 0)"
    remedy = "Drop or transform it (a logarithm, say)"
    if stream.standardised != "feature" and (stream.preprocessing is None or stream.preprocessing.text is not None):
        remedy = "Set `stream.standardise=feature`, or drop it"
    return (
        f"feature {name} varies {most / middle:,.0f} times as much as the median one, as the network sees it "
        f"(standardise={stream.standardised}), and swamps the others. {remedy}."
    )


def _deviations(stream: Stream, rows: Tensor) -> Tensor:
    """Those of each feature of these examples, as the network sees them; of a few at a time, as x may be mapped."""
    n, mean, m2 = 0, torch.zeros(()), torch.zeros(())
    for at in range(0, len(rows), _AT_ONCE):
        of = rows[at : at + _AT_ONCE]
        seen = (stream.x[of].double() - stream.shift) * stream.scale
        variance, own = torch.var_mean(seen, 0, correction=0)  # exactly 0 and the value where it is constant
        apart, n = own - mean, n + len(of)
        share = len(of) / n
        m2 = m2 + len(of) * (variance + apart.square() * (1 - share))
        mean = mean + apart * share
    return (m2 / n).sqrt()


def share_note(stream: Stream) -> str | None:
    """That cfsweep has chosen the test data, as the user's data do not say which they are."""
    if not stream.test_share:
        return None
    what = "the latest" if stream.validation == "latest" else "a fixed, stratified"
    return (
        f"no task says which of its examples are test data: {what} {percent(stream.test_share)} of each became that. "
        "To choose them, give a column `split`, `x_test` and `y_test`, `test`, or folders `train` and `test`."
    )


def unlearned_note(stream: Stream) -> str | None:
    """That a class is among the latest examples of a task alone, so that none of it is trained on there."""
    if stream.validation != "latest" or not target_of(stream.target).has_classes:
        return None
    names = stream.class_ids or range(stream.n_classes)
    found = []
    for task in stream.tasks:
        trained = set(stream.y.numpy()[task.train].tolist())
        if lacks := [names[label] for label in task.classes if label not in trained]:
            found.append(f"`{task.name}` ({few(lacks)})")
    if not found:
        return None
    return (
        f"tasks {few(found)}: these classes come up in the latest examples alone, which are held out, so nothing of "
        "them is learned there. Set `stream.validation=random` to cut a share of each class."
    )


def steps_of_tasks(config: StudyConfig, hypers: Mapping[str, Hyper], stream: Stream) -> tuple[int, int]:
    """The fewest and the most steps that a task which is trained by steps takes: by its size, and by what `epochs` and
    `batch_size` may be."""
    sizes = [len(task.train) for task in stream.tasks[stream.n_learned :] or stream.tasks]
    epochs, batches = (_numbers(config.space, hypers[name]) for name in ("epochs", "batch_size"))
    found = [int(n) * -(-size // int(batch)) for size in sizes for n in epochs for batch in batches]
    return min(found), max(found)


def _numbers(space: Space, hyper: Hyper) -> list[float]:
    """The values that a hyperparameter can have, of a range its ends."""
    searched = space.search.get(hyper.name)
    if searched is None:
        return [float(space.fixed.get(hyper.name, hyper.default))]
    return [float(v) for v in searched.choices] if isinstance(searched, Choices) else [searched.low, searched.high]


def splits_note(config: StudyConfig) -> str | None:
    """That there are fewer seeds than splits, so that some splits are trained on by none."""
    seeds, splits = config.seeds, config.stream.splits
    if seeds >= splits:
        return None
    return (
        f"of {splits} splits the {seeds} seed{'s' * (seeds != 1)} of this study use{'s' * (seeds == 1)} the first "
        f"{seeds} alone. Give `--seeds {splits}` or more."
    )


def same_examples_note(config: StudyConfig) -> str | None:
    """That nothing but a closed form is fitted, with one split: what its seeds differ in says next to nothing of how
    well another sample of examples would be answered."""
    kinds = [ingredient_class(name) for name in config.space.ingredients]
    solved = [f"`{kind.name}`" for kind in kinds if issubclass(kind, ClosedForm)]
    if config.seeds < 2 or config.stream.splits > 1 or not solved or len(solved) < len(kinds):
        return None
    return (
        f"{' and '.join(solved)} is solved, not trained: its seeds hardly differ, and all score the same validation "
        f"examples: intervals would be far too narrow. `--splits {config.seeds}` gives each seed a split of its own."
    )


def notes(config: StudyConfig, hypers: Mapping[str, Hyper], stream: Stream) -> tuple[str, ...]:
    """One line for each thing about the study that its user should know."""
    n_tasks = len(stream.tasks)
    short_of_weights = capacity_note(capacities(config.space, hypers, n_tasks), n_tasks)
    found = (
        share_note(stream),
        unlearned_note(stream),
        swamping_note(stream),
        splits_note(config),
        same_examples_note(config),
        rehearsal_note(config),
        short_of_weights,
        repetition_note(config, hypers),
        idle_note(config.space, hypers),
        default_note(config.space, hypers),
        imbalance_note(stream),
        unscored_note(config, stream),
        few_positives_note(config, stream),
        *stream.notes,
    )
    return tuple(note for note in found if note)


def imbalance_note(stream: Stream) -> str | None:
    """That accuracy, if it is what scores, cannot see some classes of some tasks; see `blind_note`."""
    if not target_of(stream.target).has_classes or scores_of(stream)[0].name != "accuracy":
        return None
    return blind_note([task.name for task in stream.tasks], majority_shares(stream))


def repetition_note(config: StudyConfig, hypers: Mapping[str, Hyper]) -> str | None:
    """That there are fewer configurations than trials, so that some trials will come to the same."""
    if not config.space.search:
        said = f"the space searches nothing: all {config.trials} trials are one configuration, which is trained once"
        return said if config.trials > 1 else None
    search = config.space.search
    found = math.prod(searched.n_values(hypers[name].kind == "int") for name, searched in search.items())
    if found >= config.trials:
        return None
    count = f"{found:.0f} different configuration" + "s" * (found != 1)
    return f"the space has {count} at most, fewer than {config.trials} trials: each is trained once, and counts for all"


def never_acting(space: Space, hypers: Mapping[str, Hyper]) -> dict[str, str]:
    """The settings that cannot act in any trial of the space, each with the reason."""
    switches = {hyper.only_with[0] for hyper in hypers.values() if hyper.only_with}
    tried: list[list[tuple[str, Value]]] = []
    for name, hyper in hypers.items():
        searched = space.search.get(name)
        values: Sequence[Value]
        if searched is None:
            values = [space.fixed.get(name, hyper.default)]
        elif isinstance(searched, Choices):
            on = [choice for choice in searched.choices if choice != hyper.off] or list(searched.choices)
            values = on if name in switches or hyper.layers else on[:1]
        else:
            values = [searched.high if searched.high != hyper.off else searched.low]
        tried.append([(name, value) for value in values])
    found = [idle(space.ingredients, dict(combination)) for combination in product(*tried)]
    switched = {name for name, searched in space.search.items() if _holds(searched, hypers[name].off)}
    return {n: why for n, why in found[0].items() if n not in switched and all(n in others for others in found)}


def _holds(searched: Range | Choices, value: Value | None) -> bool:
    if isinstance(searched, Choices):
        return value in searched.choices
    return isinstance(value, int | float) and (searched.low <= value <= searched.high or (searched.zero and value == 0))


def idle_note(space: Space, hypers: Mapping[str, Hyper]) -> str | None:
    """That something is searched which changes nothing, whatever its value."""
    found = [f"`{name}` ({why})" for name, why in never_acting(space, hypers).items() if name in space.search]
    return f"searched, but without any effect here: {', '.join(found)}" if found else None


def default_note(space: Space, hypers: Mapping[str, Hyper]) -> str | None:
    """That trial 0 is not the library's default, as the space leaves that out."""
    pairs = [(name, default_within(searched, hypers[name])) for name, searched in space.search.items()]
    moved = [
        f"{name}={value} (default {hypers[name].default})" for name, value in pairs if value != hypers[name].default
    ]
    if not moved:
        return None
    return f"trial 0 is as near to the library's default as the space allows: {few(moved)}"


def describe_references(config: StudyConfig) -> str:
    """With which settings the references are trained."""
    settings = reference_settings(config.space)
    settings = settings[: n_reference_settings(len(settings), config.trials)]
    if len(settings) < 2:
        return "naive and joint"
    names = " and ".join(settings[0])
    values = "; ".join(", ".join(plain(value) for value in given.values()) for given in settings)
    return f"naive and joint, each with {len(settings)} settings of {names}, the best of which counts: {values}"


def plain(value: Value) -> str:
    """
    >>> plain(0.00012345), plain("sgd"), plain(64)
    ('0.000123', 'sgd', '64')
    """
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def rehearsal_note(config: StudyConfig) -> str | None:
    """Says that penalties do not save class-il where no old example is rehearsed; None if the study is no such case.

    References:
        van de Ven & Tolias 2019 (arXiv 1904.07734): in class-il penalties fail, and replay seems to be required.
    """
    if config.stream.scenario != "class-il":
        return None
    kinds = [ingredient_class(name) for name in config.space.ingredients]
    penalties = [f"`{kind.name}`" for kind in kinds if issubclass(kind, Penalty)]
    if not penalties or any(issubclass(kind, Buffered | BufferedOnline | Generator) for kind in kinds):
        return None
    remedies = " or ".join(f"`{name}`" for name in REMEDIES if name in registry)
    return (
        f"class-il with {' and '.join(penalties)} and no rehearsal: the outputs of old classes are never shown an old "
        "example beside the new ones, so a penalty alone ends near what learning the last task alone gives. "
        f"Add {remedies} to the ingredients."
    )


def capacities(space: Space, hypers: Mapping[str, Hyper], n_tasks: int) -> list[Capacity]:
    """What each task will get at the study's rates: the fixed one, each choice, or a range's ends and its default.

    The default as in trial 0: moved into the range. Empty if no trial can have PackNet on.
    """
    if "packnet" not in space.ingredients:
        return []
    labels = _rate_labels(space, hypers)
    searched = space.search.get("packnet_schedule")
    default = hypers["packnet_schedule"].default
    schedules = searched.choices if isinstance(searched, Choices) else [space.fixed.get("packnet_schedule", default)]
    found = []
    if "constant" in schedules:
        found += [Capacity(label, capacity_shares(rate, n_tasks)) for rate, label in labels.items()]
    if "equal" in schedules and labels:
        found.append(Capacity("schedule equal", capacity_shares(0.0, n_tasks, "equal")))
    return found


def _rate_labels(space: Space, hypers: Mapping[str, Hyper]) -> dict[float, str]:
    """The rates to look at, those that are off left out, and how to call each."""
    searched = space.search.get("packnet_rate")
    if searched is None:
        rates = {float(space.fixed.get("packnet_rate", hypers["packnet_rate"].default)): ""}
    elif isinstance(searched, Choices):
        rates = dict.fromkeys(map(float, searched.choices), "")
    else:
        default = float(default_within(searched, hypers["packnet_rate"]))
        rates = {searched.low: " (low)", default: " (default)", searched.high: " (high)"}
    return {rate: f"rate {rate:g}{place}" for rate, place in rates.items() if rate > 0}


def capacity_note(found: Sequence[Capacity], n_tasks: int) -> str | None:
    """Says which settings leave the last task less than `LEAST_SHARE`, and what would help; None if none does."""
    short = [f"{percent(c.of_last_task)} at {c.label}" for c in found if c.of_last_task < LEAST_SHARE]
    if not short:
        return None
    enough, equal = sufficient_rates(n_tasks), f"`packnet_schedule: equal` gives each task {percent(1 / n_tasks)}"
    if enough:
        remedy = f"`packnet_rate` from {enough[0]:g} to {enough[1]:g} leaves it {percent(LEAST_SHARE)} or more; {equal}"
    else:
        remedy = f"No `packnet_rate` leaves it {percent(LEAST_SHARE)} on so many tasks; {equal}"
        remedy += "" if 1 / n_tasks >= LEAST_SHARE else ". If that is too few weights, take a larger network"
    return f"packnet: of the prunable weights, the last of {n_tasks} tasks gets {', '.join(short)}. {remedy}."


def sufficient_rates(n_tasks: int) -> tuple[float, float] | None:
    """The lowest and the highest `packnet_rate`, in hundredths, that leave the last task `LEAST_SHARE` or more.

    All rates between them do too: (1-p)·p^(T-1) rises up to p = (T-1)/T, and falls from there.

    >>> sufficient_rates(5)
    (0.6, 0.93)
    >>> sufficient_rates(10) is None
    True
    """
    hundredths = [k / 100 for k in range(1, 100)]
    enough = [rate for rate in hundredths if capacity_shares(rate, n_tasks)[n_tasks - 1] >= LEAST_SHARE]
    return (enough[0], enough[-1]) if enough else None


def percent(share: float) -> str:
    """`share` as a user reads it.

    >>> percent(0.2), percent(0.03125), percent(1e-9), percent(0.0)
    ('20 %', '3.12 %', 'under 0.01 %', '0 %')
    """
    return f"{100 * share:.3g} %" if share == 0 or share >= 1e-4 else "under 0.01 %"
