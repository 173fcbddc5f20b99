"""What would fail in the workers fails before: a study is tried on a few of its examples, before anything is kept."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import nn

from cfsweep.config import Choices, StudyConfig
from cfsweep.errors import InputError, first_line, raised_in
from cfsweep.hypers import BASE_HYPERS, Hyper
from cfsweep.sweeping.pack_size import probe
from cfsweep.training import ingredients, networks, targets
from cfsweep.training.engine.augment import TRIED, augmentations, try_augmentations
from cfsweep.training.pack import Pack
from cfsweep.training.pack_context import PackContext
from cfsweep.training.plugins import contained
from cfsweep.training.spec import PackSpec
from cfsweep.training.streams import Stream, Task

EVALUATED = 8  # examples of each part
FEWEST_IN_COMPANY = 3  # the smallest micro-batch of which no rest is one example (`Execution.pieces`)
(BATCH_SIZE,) = (hyper for hyper in BASE_HYPERS if hyper.name == "batch_size")


def try_out(config: StudyConfig, hypers: Mapping[str, Hyper], stream: Stream, network: nn.Module, where: str) -> None:
    """Trains what is the user's own: a step of each size, a whole task and the begin of the next one, evaluation and
    all, with each choice of the space. What is built in is only asked whether it takes this stream.

    Raises:
        InputError: something fails; the line names it.
    """
    of_stream = f"stream `{stream.name}`"
    found = augmentations(stream.augment, stream.input_shape, of_stream)
    try_augmentations(found, stream.x[torch.from_numpy(stream.tasks[0].train[:TRIED])], of_stream)
    built_in = config.space.network.name in networks.registry
    if not built_in:
        reason = networks.unreplaceable_reason(network, stream.input_shape)
        if reason is not None:
            raise InputError(f"{where}: network `{config.space.network.name}`: {reason}.")
        _refuse_lone_examples(config, stream, network, where)
    own = not built_in or stream.target not in targets.registry
    own = own or any(name not in ingredients.registry for name in config.space.ingredients)
    for spec in _specs(config, hypers):
        if own:
            _train(spec, stream, where)
        else:
            PackContext(spec, stream, torch.device("cpu"))


def _specs(config: StudyConfig, hypers: Mapping[str, Hyper]) -> Iterator[PackSpec]:
    """A pack of one run with the largest values, and one for each other choice of what is static."""
    (run,) = probe(config, hypers, 1).runs
    yield probe(config, hypers, 1)
    for name, searched in config.space.search.items():
        if hypers[name].static and isinstance(searched, Choices) and name not in ("epochs", "batch_size"):
            for choice in searched.choices:
                if choice != run.values[name]:
                    value = hypers[name].check(choice, "space")
                    yield replace(probe(config, hypers, 1), runs=(replace(run, values={**run.values, name: value}),))


def _train(spec: PackSpec, stream: Stream, where: str) -> None:
    error = _failure(spec, stream)
    if error is None:
        return
    one_by_one: Iterable[tuple[str, ...]] = ((), *((name,) for name in spec.ingredients))
    named = next(
        (names for names in one_by_one if _failure(replace(spec, ingredients=names), stream)), spec.ingredients
    )
    subject = f"network `{spec.network.name}`" + (f" with `{'` and `'.join(named)}`" if named else "")
    raise InputError(
        f"{where}: {subject} fails on a few examples of the stream ({first_line(error)}; {raised_in(error)}). Mend it"
        + (", or leave the ingredient out." if named else ".")
    ) from error


def _failure(spec: PackSpec, stream: Stream) -> Exception | None:
    """What two short tasks raise."""
    names = ingredients.hypers_of(spec.ingredients)
    (run,) = spec.runs
    run = replace(run, values={name: value for name, value in run.values.items() if name in names})
    size = int(run.values["batch_size"])
    tasks = tuple(_short(task, size) for task in stream.tasks[:2])
    short = replace(stream, tasks=tasks, n_learned=min(stream.n_learned, 1))
    try:
        with contained():
            pack = Pack(replace(spec, runs=(run,)), short)
            while not pack.done:
                pack.train_next_task()
    except InputError:
        raise
    except Exception as error:  # the user's network or ingredient may raise anything
        return error
    return None


def _short(task: Task, batch_size: int) -> Task:
    """A task of one whole batch, and of one as large as its last."""
    n = min(len(task.train), batch_size + len(task.train) % batch_size)
    return task.first(n, EVALUATED)


def _refuse_lone_examples(config: StudyConfig, stream: Stream, network: nn.Module, where: str) -> None:
    """Batch statistics of one example are none: then no batch may be left with one.

    Raises:
        InputError: a batch size that a trial may have leaves a task with one, or micro-batches may be so small.
    """
    if not _needs_company(network, stream):
        return
    micro_batch = config.space.network.micro_batch
    if micro_batch is not None and micro_batch < FEWEST_IN_COMPANY:
        raise InputError(
            f"{where}: network `{config.space.network.name}` cannot train on a lone example (as batch norm), but "
            f"micro-batches of `network.micro_batch={micro_batch}` may hold one. Set it to {FEWEST_IN_COMPANY} or more."
        )
    searched = config.space.search.get("batch_size")
    sizes: Iterable[int] = [int(config.space.fixed.get("batch_size", BATCH_SIZE.default))]
    if isinstance(searched, Choices):
        sizes = [int(size) for size in searched.choices]
    elif searched is not None:
        sizes = range(math.ceil(searched.low), math.floor(searched.high) + 1)
    lengths = [len(task.train) for task in stream.tasks]
    counted = [(f"task `{task.name}`", n) for task, n in zip(stream.tasks, lengths, strict=True)]
    at_joint = [(f"`joint` at {of}", sum(lengths[: k + 1])) for k, (of, _) in enumerate(counted)]
    counted = counted[stream.n_learned :]
    if config.references:
        counted += at_joint[max(1, stream.n_learned) :]
    for of, n in counted:
        for size in sizes:
            if n % size == 1 or size == 1:
                raise InputError(
                    f"{where}: network `{config.space.network.name}` cannot train on a lone example (as batch norm), "
                    f"but {of} has {n} training examples, so that batches of {size} leave one. Choose another "
                    "`batch_size`, or change `stream.validation_frac`."
                )


def _needs_company(network: nn.Module, stream: Stream) -> bool:
    """Whether the network trains on two examples, but not on one. It is left as it was: what is asked of it next goes
    by the statistics that came with its weights."""
    x, was_training = stream.x[:2].float(), network.training
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}  # a copy cannot be made of each network
    network.train()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            network(x)
        except Exception:
            return False  # which training will tell
        else:
            try:
                network(x[:1])
            except Exception:
                return True
        finally:
            network.train(was_training)
            for name, buffer in network.named_buffers():
                buffer.copy_(before.get(name, buffer))
    return False
