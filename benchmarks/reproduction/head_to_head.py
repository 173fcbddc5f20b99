"""The head-to-head of the third article: four methods on multi-head Split-MNIST."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.reproduction.model import (
    Claim,
    Group,
    Quantity,
    Row,
    Table,
    Why,
    accuracy,
    final_average,
    largest_change,
)
from benchmarks.reproduction.strengths import strength_of
from cfsweep.config import NetworkConfig, Space, StreamConfig, StudyConfig
from cfsweep.hypers import Value

BASE: dict[str, Value] = {"optimizer": "sgd", "lr": 0.01, "momentum": 0.9, "batch_size": 64, "epochs": 24}
N_TASKS = 5

FACTS = (
    "Task-il with one head per task, MLP 256-256, SGD 0.01 with momentum 0.9, batches of 64, five tasks of two "
    "digits, all as in the article. The article trains 5 epochs; on all 60,000 images that is about 940 steps per "
    "task. Here are 14,048 of them, about 2,810 per task, a tenth of them held out, and 24 epochs make about 960.",
    "The article gives one number per method and no spread, so 3 points decide. Of its PackNet it says no more "
    "than the accuracy; `docs/packnet.md` measures what mistakes cost, one of which ends near there. Ours must be "
    "above it, and no "
    "accuracy on a frozen task may change; with `equal` each task gets its fifth, whatever the rate. Of its replay "
    "buffer it gives the size and not the share of a batch, which is searched.",
    "The optimizer begins afresh with each task.",
)


def _row(
    name: str,
    method: str,
    claim: Claim,
    ingredients: tuple[str, ...] = (),
    fixed: Mapping[str, Value] | None = None,
    *,
    setting: str = "",
    group: Group = "main",
    searched: bool = False,
    whys: tuple[Why, ...] = (),
    more: tuple[Quantity, ...] = (),
) -> Row:
    study = StudyConfig(
        space=Space(
            network=NetworkConfig(name="mlp", args={"hidden": [256, 256]}),
            ingredients=ingredients,
            fixed={**BASE, **(fixed or {})},
            search=strength_of(ingredients) if searched else {},
        ),
        stream=StreamConfig(name="split-mnist", scenario="task-il", validation_frac=0.1),
        references=False,
        stop_trials=False,
    )
    quantities = (Quantity("average at the end", final_average, claim, whys), *more)
    naive = "baseline" if ingredients else None
    return Row(name, method, setting, study, quantities, naive, group, trace=True)


_FROZEN = (
    Quantity("largest change after freezing", largest_change, Claim(0.0, sense="exactly")),
    *(Quantity(f"task {task} when learned", accuracy(task, task)) for task in range(N_TASKS)),
)
_EWC: dict[str, Value] = {"ewc_fisher": "empirical"}
_BETTER = Why(
    "the search found a strength that does better than the article's, with which the number is the published one",
    ("head-to-head/ewc-as-published",),
    "surpassed",
)

TABLE = Table(
    "head-to-head",
    "The head-to-head of the third article",
    "the third source article: baseline .976, EWC .972, replay .994, PackNet .846",
    60_000,
    FACTS,
    (
        _row("baseline", "baseline", Claim(97.6)),
        _row("ewc", "EWC", Claim(97.2), ("ewc",), _EWC, searched=True, whys=(_BETTER,)),
        _row("replay", "replay", Claim(99.4), ("replay",), {"replay_buffer": 500}, setting="500 images", searched=True),
        _row("packnet", "PackNet", Claim(84.6, sense="above"), ("packnet",), searched=True, more=_FROZEN),
        _row(
            "packnet-equal",
            "PackNet, equal shares",
            Claim(84.6, sense="above"),
            ("packnet",),
            {"packnet_schedule": "equal"},
            setting="packnet_schedule equal",
            more=_FROZEN,
        ),
        _row(
            "ewc-as-published",
            "EWC",
            Claim(97.2),
            ("ewc",),
            {**_EWC, "ewc_lambda": 0.4},
            setting="ewc_lambda 0.4",
            group="as published",
        ),
        _row(
            "packnet-as-published",
            "PackNet",
            Claim(84.6, sense="above"),
            ("packnet",),
            {"packnet_rate": 0.5},
            setting="packnet_rate 0.5, of the paper",
            group="as published",
            more=_FROZEN,
        ),
    ),
)
