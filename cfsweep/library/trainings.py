"""One configuration trained with some seeds, in this process."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cfsweep.errors import InputError
from cfsweep.library.repeatable import repeatable
from cfsweep.library.shown import html_table
from cfsweep.library.spaces import Space, space_of
from cfsweep.library.sweeps import options_of
from cfsweep.texts import score_text

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cfsweep.bundle import Model, Origin
    from cfsweep.config import StudyConfig
    from cfsweep.hypers import Value
    from cfsweep.sweeping.study import Prepared
    from cfsweep.training.pack import Pack
    from cfsweep.training.spec import PackReport, RunRecord
    from cfsweep.training.streams import Stream


def train(
    stream: str | Path = "split-digits",
    space: Space | None = None,
    *,
    args: Mapping[str, Any] | None = None,
    ingredients: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    scenario: str | None = None,
    target: str | None = None,
    scores: str | Sequence[str] | None = None,
    seeds: int | Sequence[int] = 1,
    test: bool = False,
    data: str | Path | None = None,
    download: bool = False,
    device: str | None = None,
    encoder: str | None = None,
    progress: Callable[[PackReport], object] | None = None,
) -> Training:
    """One configuration, trained on the tasks of `stream` in their order with each seed; neither Ray nor Optuna.

    Either a `space` that searches nothing, or the names of `ingredients`, with `settings` by the keys of `--set`:
    `{"ewc_lambda": 1e4, "lr": 0.001, "network.args.hidden": [256]}`; all else has its default. The numbers are those
    of a sweep's run with the same settings and seed. `args` are those of the stream: of a function, or what a table's
    columns are, `{"target": "churned", "task": "month"}`. `encoder` is `package.module:function`, its arguments are
    `settings` such as `stream.encoder_args.size`. `target` is what is learned, `scores` what is measured, a name or
    several, of which the first steers. `seeds` are so many from 0 on, or these. They are scored on validation data,
    with `test` on test data, too: leave that for the last look, since who chooses by test data has none left. `device`
    is `cpu` or `cuda` (default: a GPU if there is one). `progress` is called with a `PackReport` after each task.

    Raises:
        InputError: anything is wrong with what is asked for, or a seed is given twice.
    """
    repeatable()
    import torch

    from cfsweep.sweeping.study import prepare

    config = one_configuration(
        "train", stream, space, ingredients, settings or {}, scenario, data, download, target, scores, args, encoder
    )
    numbers = _numbers(seeds)
    if device is not None and device not in ("cpu", "cuda"):
        raise InputError(f"train: `device` must be cpu or cuda, but got {device}. Give one of these, or leave it out.")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("train: `device` is cuda, but torch sees no GPU here. Leave it out.")
    prepared = prepare(config, "train")
    values = values_of(prepared, "train")
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in a sweep: two teams of threads are slower, and round in another order
    try:
        records, saved = _trained(prepared.config, prepared.stream, values, numbers, test, where, progress)
    finally:
        torch.set_num_threads(threads)
    return Training(prepared.config, values, records, prepared.notes, prepared.stream, saved)


def one_configuration(
    called: str,
    stream: str | Path,
    space: Space | None,
    ingredients: Sequence[str],
    settings: Iterable[str] | Mapping[str, Any],
    scenario: str | None,
    data: str | Path | None,
    download: bool,
    target: str | None = None,
    scores: str | Sequence[str] | None = None,
    args: Mapping[str, Any] | None = None,
    encoder: str | None = None,
) -> StudyConfig:
    """What is asked for as a study in which nothing is searched; `called` begins what is said of bad input.

    Raises:
        InputError: something is searched or is a sweep's, or is wrong.
    """
    from cfsweep.sweeping.parsing import make_config

    if space is not None and ingredients:
        raise InputError(f"{called}: a space names its ingredients itself, but got both. Leave one out.")
    source, _ = space_of({"ingredients": list(ingredients)} if space is None else space)
    options = options_of(
        stream, scenario, target, scores, trials=1, data=data, download=download, args=args, encoder=encoder
    )
    config = make_config(source, options, settings)
    if config.space.search:
        names = ", ".join(f"`{name}`" for name in config.space.search)
        raise InputError(
            f"{called}: the space searches {names}. Give each a value in `settings`, or use `cfsweep.sweep`."
        )
    if config.space.trainer is not None:
        raise InputError(f"{called}: `trainer: {config.space.trainer}` trains from outside. Call that function itself.")
    _refuse_what_a_sweep_alone_takes(config)
    return config


def values_of(prepared: Prepared, called: str) -> dict[str, Value]:
    """All hyperparameters of a study in which nothing is searched, by name; those it does not fix have their defaults.

    Raises:
        InputError: a value is not legal; what is said of it begins with `called`.
    """
    fixed = prepared.config.space.fixed
    return {name: hyper.check(fixed.get(name, hyper.default), called) for name, hyper in prepared.hypers.items()}


def origin_here(pack: Pack, config: StudyConfig, purpose: str) -> Origin:
    """Where a run comes from that was made in this process, with no folder of a study."""
    from cfsweep.bundle import origin_of
    from cfsweep.files import git_revision

    about = {"study_id": config.study_id, "git_revision": git_revision(Path(__file__).parent)}
    return origin_of(pack, config, about)._replace(purpose=purpose)


def _refuse_what_a_sweep_alone_takes(config: StudyConfig) -> None:
    """
    Raises:
        InputError: a setting would be passed over without a word.
    """
    usual = type(config)(space=config.space, stream=config.stream, trials=1)
    others = [name for name in type(config).model_fields if getattr(config, name) != getattr(usual, name)]
    if config.stream.splits > 1:
        others.append("stream.splits")
    if others:
        raise InputError(
            f"settings {others[0]}: it is a sweep's, and one training knows nothing of it. Leave it out"
            f"{', and give `seeds` as an argument' if others[0] == 'seeds' else ''}."
        )


def _numbers(seeds: int | Sequence[int]) -> list[int]:
    """
    >>> _numbers(2), _numbers([7, 3])
    ([0, 1], [7, 3])
    """
    numbers = list(range(seeds)) if isinstance(seeds, int) else [int(seed) for seed in seeds]
    if not numbers or min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise InputError(f"train: `seeds` must be a number above 0, or different numbers from 0 on, but got {seeds}.")
    return numbers


def _trained(
    config: StudyConfig,
    stream: Stream,
    values: dict[str, Value],
    seeds: Sequence[int],
    test: bool,
    device: Any,
    progress: Callable[[PackReport], object] | None,
) -> tuple[tuple[RunRecord, ...], dict[int, bytes]]:
    from cfsweep.config import PARTS
    from cfsweep.sweeping.pack_size import ON_CPU
    from cfsweep.training.pack import Pack, pack_size
    from cfsweep.training.spec import PackSpec, RunSpec

    wanted = ON_CPU if device.type == "cpu" else len(seeds)
    size = pack_size(config.space.network, stream, config.stream.scenario, wanted)
    parts = PARTS if test else PARTS[:1]
    records: list[RunRecord] = []
    saved: dict[int, bytes] = {}
    for first in range(0, len(seeds), size):
        runs = tuple(RunSpec(0, seed, values) for seed in seeds[first : first + size])
        network, scenario, names = config.space.network, config.stream.scenario, config.space.ingredients
        spec = PackSpec(network, scenario, names, runs, parts=parts, keep_models=True)
        pack = Pack(spec, stream, device)
        while not pack.done:
            report = pack.train_next_task()
            if progress is not None:
                progress(report)
        records += pack.report().records
        saved |= {seed: content for (_, seed), content in pack.models().items()}
    return tuple(records), saved


@dataclass(frozen=True)
class Training:
    """What `train` has come to: for each seed its score matrices and its model. A notebook shows the mean matrix.

    `settings` are all hyperparameters by name, `records` what is known of each run, `notes` what the user should know.
    """

    config: StudyConfig
    settings: Mapping[str, Value]
    records: tuple[RunRecord, ...]
    notes: tuple[str, ...]
    stream: Stream = field(repr=False)
    saved: Mapping[int, bytes] = field(repr=False)

    @property
    def seeds(self) -> list[int]:
        return [record.seed for record in self.records]

    @property
    def failures(self) -> dict[int, str]:
        """Why a run ended before its last task, by seed."""
        return {record.seed: record.failure for record in self.records if record.failure is not None}

    @property
    def validation(self) -> NDArray[np.float64]:
        """The scores R[s, t, i] (seeds, T + 1, T) on validation data of task i after t tasks; the untrained network
        has t = 0. NaN where a run did not come."""
        return self._scores("validation")

    @property
    def test(self) -> NDArray[np.float64]:
        """The same on test data.

        Raises:
            InputError: `train` was not asked for it.
        """
        if not any(record.test for record in self.records):
            raise InputError("train: no test data was looked at. Give `test=True`.")
        return self._scores("test")

    @property
    def average_score(self) -> NDArray[np.float64]:
        """(seeds,): the mean over the tasks at the end, on validation data; NaN of a run that failed.
        A task on which the score has no value does not count."""
        ends = self.validation[:, -1]
        known = ~np.isnan(ends)
        return np.where(
            known.any(axis=1), np.where(known, ends, 0.0).sum(axis=1) / known.sum(axis=1).clip(min=1), np.nan
        )

    def model(self, seed: int | None = None) -> Model:
        """The model of a seed (default: the first that went all the way).

        Raises:
            InputError: there is none.
        """
        from cfsweep.bundle import of_pack

        pack = self._pack(seed)
        return of_pack(pack, origin_here(pack, self.config, "train"))

    def export(self, to: str | Path, seed: int | None = None, with_data: bool = True, onnx: bool = False) -> Model:
        """The model of a seed, written as a bundle into the new folder `to`; with `onnx` its program as `model.onnx`,
        too.

        Raises:
            InputError: there is none, `to` exists, or the program cannot be had as ONNX.
        """
        from cfsweep.bundle import load, write_of
        from cfsweep.bundle.places import delivered

        pack = self._pack(seed)
        with delivered(to) as here:
            write_of(pack, origin_here(pack, self.config, "train"), here, with_data, onnx=onnx)
        return load(to)

    def _pack(self, seed: int | None) -> Pack:
        from cfsweep.training.pack import Pack

        number = next(iter(self.saved), None) if seed is None else seed
        if number is None or number not in self.saved:
            there = ", ".join(map(str, sorted(self.saved))) or "none"
            raise InputError(f"train: no model of seed {seed}: of {there} there is one. Give one of them.")
        pack = Pack.restore(self.saved[number], self.stream)
        assert pack is not None  # this version wrote it
        return pack

    def _scores(self, part: str) -> NDArray[np.float64]:
        n_tasks = len(self.stream.tasks)
        found = np.full((len(self.records), n_tasks + 1, n_tasks), np.nan)
        for scores, record in zip(found, self.records, strict=True):
            rows = getattr(record, part)
            scores[: len(rows)] = rows
        return found

    def __repr__(self) -> str:
        ends = self.average_score
        spread = f" ± {score_text(float(np.nanstd(ends, ddof=1)), 3)}" if np.isfinite(ends).sum() > 1 else ""
        names = "+".join(self.config.space.ingredients) or "naive"
        seeds = f"{len(ends)} seed{'s' * (len(ends) != 1)}"
        mean = f"{score_text(float(np.nanmean(ends)), 3)}{spread}" if np.isfinite(ends).any() else "none"
        failed = f"; {len(self.failures)} failed" if self.failures else ""
        where = f"{names} on {self.stream.name}, {self.config.stream.scenario}, {seeds}"
        return f"{where}: average score on validation data {mean}{failed}"

    def _repr_html_(self) -> str:
        with warnings.catch_warnings():  # of tasks on which the score has no value
            warnings.simplefilter("ignore", RuntimeWarning)
            mean = np.nanmean(self.validation, axis=0)
        first = "untrained" if self.config.space.network.init is None else "first weights"
        heads = ["validation, mean", *(task.name for task in self.stream.tasks)]
        rows = [
            [
                first if t == 0 else f"after {self.stream.tasks[t - 1].name}",
                *("–" if np.isnan(x) else score_text(float(x), 3) for x in row),
            ]
            for t, row in enumerate(mean)
        ]
        return f"<p>{self!r}</p>" + html_table(heads, rows)
