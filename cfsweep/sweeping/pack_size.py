"""How many runs go into a pack where the study leaves it open: what fits into the memory of a worker's GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch

from cfsweep.config import Choices, Range, StudyConfig
from cfsweep.hypers import BASE_HYPERS, Hyper, Value
from cfsweep.training.engine.device_memory import is_out_of_memory, release
from cfsweep.training.pack import Pack, pack_size
from cfsweep.training.spec import PackSpec, RunSpec
from cfsweep.training.streams import Stream

ON_CPU = 8  # a pack saves a CPU nothing per run: small ones tell the sampler more, sooner
ROUNDS = 8  # so often at least a worker's packs follow one another, for the sampler to learn from results
USABLE = 0.8  # of the free memory: an estimate, a fragmented heap and a larger last batch are not to end in halving
TELLING = 16  # a pack that takes this part of the memory says what the next run costs

Peak = Callable[[int], int]
Meter = Callable[[Callable[[], None]], int]


def most_runs(config: StudyConfig, workers: int) -> int:
    """The most runs in a pack of a study that leaves it open, however large the memory.

    >>> from cfsweep.config import Space
    >>> most_runs(StudyConfig(space=Space(), trials=1000, seeds=2), workers=1)
    250
    """
    return max(ON_CPU, -(-config.trials * config.seeds // (ROUNDS * workers)))


def fitting_runs(peak: Peak, budget: int, most: int) -> int:
    """The most runs, up to `most`, whose pack stays within `budget` bytes; `peak(n)` measures the bytes that n take.

    Doubles a pack until it takes a telling part of the budget, and goes on in a straight line from there. Small packs
    alone would say too little: what a pack takes once and what grows with its runs peak at different moments.

    >>> fitting_runs(lambda n: 100 + 7 * n, budget=1000, most=10**6)
    128
    """
    small, large = 0, 1
    at_small, at_large = 0, peak(1)
    while (small == 0 or at_large < budget / TELLING) and large < most:
        try:
            small, at_small, at_large = large, at_large, peak(2 * large)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return large
        large *= 2
    slope = max(1.0, (at_large - at_small) / (large - small))
    return max(1, min(most, large + int((budget - at_large) // slope)))


def probe(config: StudyConfig, hypers: Mapping[str, Hyper], n_runs: int) -> PackSpec:
    """A pack of runs of different seeds, with what takes most memory of all that the study may ask for; one epoch."""
    values = {name: _heaviest(config, name, hyper) for name, hyper in hypers.items()} | {"epochs": 1}
    runs = tuple(RunSpec(0, seed, values) for seed in range(n_runs))
    space = config.space
    return PackSpec(space.network, config.stream.scenario, space.ingredients, runs, parts=config.parts)


def _heaviest(config: StudyConfig, name: str, hyper: Hyper) -> Value:
    searched = config.space.search.get(name)
    if isinstance(searched, Choices):
        numbers = [choice for choice in searched.choices if not isinstance(choice, str)]
        value: Value = max(numbers) if numbers else searched.choices[0]
    elif isinstance(searched, Range):  # a large rate takes no memory, but may end the run before its second task
        rates = {h.name for h in BASE_HYPERS if h.kind == "float"}
        value = searched.low if name in rates else searched.high
    else:
        value = config.space.fixed.get(name, hyper.default)
    return hyper.check(value, "probe")


def pack_peak(config: StudyConfig, hypers: Mapping[str, Hyper], stream: Stream, device: str, meter: Meter) -> Peak:
    """Measures packs on a few batches of the first two tasks, with penalties, replay and all; the order of the
    examples and their labels, which lie on the device for a whole task, are added as they will be."""
    n_examples = 4 * int(_heaviest(config, "batch_size", hypers["batch_size"]))
    tasks = tuple(task.first(n_examples, n_examples) for task in stream.tasks[:2])
    short = replace(stream, tasks=tasks, n_learned=min(stream.n_learned, 1))
    n_indices = int(_heaviest(config, "epochs", hypers["epochs"])) * max(len(task.train) for task in stream.tasks)

    def peak(n_runs: int) -> int:
        def train() -> None:
            pack = Pack(probe(config, hypers, n_runs), short, device)
            while not pack.done:
                pack.train_next_task()

        return meter(train) + 2 * n_runs * n_indices * np.dtype(np.int64).itemsize

    return peak


def gpu_peak_bytes(act: Callable[[], None]) -> int:
    """The most bytes that tensors took on the GPU during `act()`."""
    release(torch.device("cuda"))
    torch.cuda.reset_peak_memory_stats()
    act()
    return int(torch.cuda.max_memory_allocated())


def pack_size_beside_memory(config: StudyConfig, stream: Stream, on_gpu: bool) -> int | None:
    """The most runs in a pack, where no memory has to be measured for it; else None."""
    if config.space.trainer is not None:
        return 1
    if pack_size(config.space.network, stream, config.stream.scenario, wanted=2) == 1:
        return 1
    if config.pack_runs != "auto":
        return config.pack_runs
    return None if on_gpu else ON_CPU


def runs_that_fit(config: StudyConfig, hypers: Mapping[str, Hyper], stream: Stream, share: float, most: int) -> int:
    """The most runs, up to `most`, whose pack fits on the GPU of this process, of which it may take a `share`."""
    free, total = torch.cuda.mem_get_info()
    budget = int(USABLE * min(free, total * min(1.0, share)))
    try:
        return fitting_runs(pack_peak(config, hypers, stream, "cuda", gpu_peak_bytes), budget, most)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return 1  # which will fail, and say why
