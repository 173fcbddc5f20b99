"""The next task: a bundle's model goes on learning, with all that its remedies keep."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from cfsweep.bundle.answers_file import read_answers
from cfsweep.bundle.cold import begin_cold, needed, refuse_cold
from cfsweep.bundle.described import Origin
from cfsweep.bundle.manifest import NAME, STATE, Manifest, read_manifest, read_tensors, sha256
from cfsweep.bundle.next_task import PLACE, going_on, next_task
from cfsweep.bundle.rebuilt import Tensors, rebuilt
from cfsweep.bundle.state_file import read_state
from cfsweep.bundle.table import read_preprocessing
from cfsweep.bundle.writer import STEERING, WEIGHTS, refuse_early, write_of
from cfsweep.errors import InputError, unknown
from cfsweep.files import git_revision
from cfsweep.hypers import Value
from cfsweep.training.ingredients import (
    Buffered,
    BufferedOnline,
    Ingredient,
    StopRule,
    hypers_of,
    ingredient_class,
)
from cfsweep.training.pack import Pack
from cfsweep.training.spec import RunSpec
from cfsweep.training.streams import Preprocessing, Stream


def continue_(
    bundle: Path,
    task: Path,
    changes: Mapping[str, Value],
    to: Path,
    beside: Mapping[str, bytes] | None = None,
    onnx: bool = False,
) -> Manifest:
    """Writes the bundle of the model in `bundle` after one more task, that in the file or folder of parts `task`, into
    the new folder `to`. `changes` are other settings for this task, `beside` further files for the bundle, by name;
    with `onnx` it has the program as `model.onnx`, too, whether or not the bundle before had one.

    Where the outputs stay, it is to the last bit the model of a run that had this task in its stream from the
    beginning, if that stream standardised its examples alike, and if no remedy goes by the number of tasks (the shares
    of `a-gem-online`'s buffer do, and `packnet` with packnet_schedule=equal). New classes in task-il and class-il get
    new outputs, with the weights that this other run would have drawn for them. It differs from that run then in the
    biases that outputs begin with, as these are drawn after the weights of all outputs, and in rounding, as products of
    other shapes round differently.

    Where the bundle lacks `state.safetensors`, the model goes on from its weights alone, with the remedies that can.
    Tasks before are not evaluated, as their examples are not at hand; the new one is, before and after.

    Raises:
        InputError: there is no bundle, the task does not fit it, a setting cannot be changed, what a remedy needs is
            not in the bundle, the run fails, `to` exists, or the program cannot be had as ONNX.
    """
    return written_after(Pack.train_next_task, bundle, task, changes, to, beside, onnx)


def written_after(
    train: Callable[[Pack], object],
    bundle: Path,
    task: Path,
    changes: Mapping[str, Value],
    to: Path,
    beside: Mapping[str, bytes] | None = None,
    onnx: bool = False,
) -> Manifest:
    """As `continue_`, where `train` does what `Pack.train_next_task` does: the pack of the bundle's run, which is about
    to train the task, is at its end then, and the record has the scores of after it.

    Raises:
        InputError: as `continue_`.
    """
    refuse_early(to, onnx, bundle)
    start = opened(bundle)
    about, pack = start.about, start.own_pack(task, changes)
    _train(pack, about, train)
    parent = sha256(bundle / NAME)
    hashes = tuple(info.test_sha256 for info in about.tasks)
    revision = git_revision(Path(__file__).parent)
    origin = Origin(about.study_id, revision, about.purpose, about.stream_config, about.cut, parent, hashes)
    return write_of(pack, origin, to, beside=beside, onnx=onnx)


@dataclass(frozen=True)
class Opened:
    """A bundle that can go on: all that its next task begins with. Without `state.safetensors` its `state` is empty;
    `table` is what makes examples of the rows of one, where its data are that."""

    bundle: Path
    about: Manifest
    weights: Tensors
    answers: Tensors
    state: Tensors
    table: Preprocessing | None = None

    def changed(self, changes: Mapping[str, Value]) -> dict[str, Value]:
        """The settings of the next task, of which `changes` are other ones than before.

        Raises:
            InputError: a setting cannot be changed, or what a remedy needs is not in the bundle.
        """
        settings = changed(self.about, changes)
        if not self.state:
            kinds = map(ingredient_class, self.about.ingredients)
            refuse_cold(kinds, settings, f"{self.bundle}: {STATE} is not there", "Bring the file back")
        _refuse_without_examples(self.about, settings, self.state, self.bundle)
        return settings

    def stream(self, task: Path) -> Stream:
        """What the bundle has kept of its tasks, and the next one, in the file or folder of parts `task`.

        Raises:
            InputError: the task does not fit the bundle.
        """
        return going_on(self.about, self.state, self.answers, next_task(self.about, task, self.table))

    def pack(self, runs: Sequence[RunSpec], stream: Stream, parts: tuple[str, ...]) -> Pack:
        """A pack of runs, which share their static settings, that is about to train the next task.

        Raises:
            InputError: network or remedies are others than those at hand.
        """
        pack = rebuilt(self.about, runs, stream, self.weights, self.state, self.bundle, parts)
        if not self.state:
            begin_cold(pack)
        return pack

    def own_pack(self, task: Path, changes: Mapping[str, Value]) -> Pack:
        """That of the bundle's run alone, with the settings `changes`, about to train the file or folder `task`.

        Raises:
            InputError: as `changed`, `stream` and `pack`.
        """
        about = self.about
        run = RunSpec(about.trial, about.seed, self.changed(changes))
        return self.pack([run], self.stream(task), tuple(about.scores))


def opened(bundle: Path) -> Opened:
    """All that the next task of the bundle in a folder begins with.

    Raises:
        InputError: there is no bundle, or none that can go on.
    """
    about = read_manifest(bundle)
    about = about.model_copy(update={"settings": _legal(about, bundle / NAME)})
    if about.joint:
        raise InputError(f"{bundle}: `joint` needs the data of all tasks again. Continue another model, or sweep anew.")
    state = read_state(bundle, about)
    weights = read_tensors(bundle / WEIGHTS)
    answers = read_answers(bundle, about, weights)
    return Opened(bundle, about, weights, answers, state, read_preprocessing(bundle, about))


# ------------------------------------------------------------------------------------------------ settings


def _legal(about: Manifest, where: Path) -> dict[str, Value]:
    """The settings in the `model.json` at `where`, as the types that their hyperparameters have.

    Raises:
        InputError: one that is trained with is missing, or not legal.
    """
    found = dict(about.settings)
    for name, hyper in hypers_of(about.ingredients, str(where)).items():
        if name not in found:
            raise InputError(f"{where}: `settings.{name}` is missing. Export the model again.")
        found[name] = hyper.check(found[name], f"{where}: settings")
    return found


def changed(about: Manifest, changes: Mapping[str, Value]) -> dict[str, Value]:
    """The settings of the next task.

    Raises:
        InputError: one is unknown or not legal; or it switches a remedy on that has kept nothing so far, or wants more
            of a buffer than it has kept.
    """
    hypers, settings = hypers_of(about.ingredients), dict(about.settings)
    for name, value in changes.items():
        if name not in hypers:
            raise unknown("--set", "setting", name, hypers)
        settings[name] = hypers[name].check(value, f"--set {name}")
    if settings["optimizer_state"] == "kept" and settings["optimizer"] != about.settings["optimizer"]:
        raise InputError(
            f"--set optimizer={settings['optimizer']}: the state that is kept is of {about.settings['optimizer']}. "
            "Leave it, or begin afresh, `--set optimizer_state=fresh`."
        )
    for kind in map(ingredient_class, about.ingredients):
        if kind.is_off(about.settings) and not kind.is_off(settings) and needed(kind) is not None:
            raise InputError(f"--set: `{kind.name}` was off, so it has kept nothing of the tasks before. Leave it off.")
        _refuse_more(kind, about.settings, settings)
    return settings


def _refuse_more(kind: type[Ingredient], before: Mapping[str, Value], after: Mapping[str, Value]) -> None:
    """What a buffer has let go of cannot come back; as if it had been larger, it would hold the rest twice."""
    for name in sizes_of(kind):
        if float(after[name]) > float(before[name]):
            raise InputError(
                f"--set {name}={after[name]}: `{name} <= {before[name]}` must hold, as a "
                "buffer cannot get back what it has let go of. Take less, or leave it as it is."
            )


def sizes_of(kind: type[Ingredient]) -> list[str]:
    """The hyperparameters of an ingredient that say how many examples its buffer keeps.

    >>> sizes_of(ingredient_class("replay")), sizes_of(ingredient_class("ewc"))
    (['replay_buffer'], [])
    """
    if not issubclass(kind, Buffered | BufferedOnline):
        return []
    return [hyper.name for hyper in kind.hypers if hyper.kind == "int" and hyper.off == 0]


# ------------------------------------------------------------------------------------------------ what is kept


def _refuse_without_examples(about: Manifest, settings: Mapping[str, Value], state: Tensors, bundle: Path) -> None:
    """
    Raises:
        InputError: a remedy that is on needs examples which are not in the bundle.
    """
    missing = "but they are not in it. Export it again without `--without-data`."
    for kind in map(ingredient_class, about.ingredients):
        if kind.is_off(settings):
            continue
        n = int(state.get(f"{kind.name}/buffer/n", torch.tensor(0)))
        if n and f"{kind.name}/buffer{PLACE}" not in state:
            raise InputError(f"{bundle}: `{kind.name}` needs the {n} examples that it has kept, {missing}")
        if issubclass(kind, StopRule) and kind.looks_at_old and f"{STEERING}{PLACE}" not in state:
            raise InputError(f"{bundle}: `{kind.name}` needs the steering examples of all tasks so far, {missing}")


# ------------------------------------------------------------------------------------------------ training


def _train(pack: Pack, about: Manifest, train: Callable[[Pack], object]) -> None:
    """Has `train` train the last task; the record has the scores of before beside those of now.

    Raises:
        InputError: the run fails.
    """
    (record,), new = pack.records, pack.next_task
    for part, rows in about.scores.items():
        known = [[torch.nan if score is None else score for score in row] + [torch.nan] for row in rows]
        known[-1][-1] = score_on(pack, new, part)
        getattr(record, part).extend(known)
    train(pack)
    if record.failure is not None:
        raise InputError(f"--task {pack.stream.tasks[new].name}: {record.failure}. Lower it, `--set lr=...`.")


def score_on(pack: Pack, task: int, part: str) -> float:
    """How the model of the pack's first run does on a task as it is now; NaN where there are no examples of it. Before
    the next task that is the model of all its runs."""
    examples = pack.stream.tasks[task].parts[part]
    if not len(examples):
        return math.nan
    return float(pack.scores(task, part)[0, 0])
