"""What the sweep asks of whatever runs its packs: workers of Ray's (`ray_backend`), or this process (`local`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cfsweep.errors import InputError

if TYPE_CHECKING:  # Ray is started before they are loaded, and torch with them
    from cfsweep.config import StudyConfig
    from cfsweep.hypers import Hyper
    from cfsweep.sweeping.driver import Driver
    from cfsweep.training.streams import Stream


@dataclass(frozen=True)
class Workers:
    """Where to train: `count` processes (None: one per processor, or per GPU; 0: this one) at `address` (None: here).

    `gpus_each` is what each of them takes of a GPU (None: a whole one if there are any). `insecure`: the cluster there
    need not demand a token. `again` gives the command by which a process takes the place of this one where Ray's death
    would end it (None: there is none, as in a library).
    """

    count: int | None = None
    address: str | None = None
    gpus_each: float | None = None
    insecure: bool = False
    again: Callable[[], list[str] | None] | None = None


@dataclass(frozen=True)
class Endurance:
    """What a sweep bears: a run that has failed is trained again `retries` times; room on a full disk is waited for
    `patience_s` seconds; a worker from which nothing was heard for `hang_after_s` is killed (None: none is)."""

    retries: int = 0
    patience_s: float = 600.0
    hang_after_s: float | None = None


USUAL = Endurance()


def endurance_of(workers: Workers, retries: int, patience_s: float, hang_after_s: float | None) -> Endurance:
    """What a sweep by these workers bears.

    Raises:
        InputError: a number is too small, or there is no process that can be killed.
    """
    for name, value, least in (("retries", retries, 0), ("patience", patience_s, 0), ("hang-after", hang_after_s, 1)):
        if value is not None and not value >= least:
            raise InputError(f"--{name} {value}: `{least} <= {name}` must hold. Give another number.")
    if hang_after_s is not None and workers.count == 0:
        raise InputError(
            f"--hang-after {hang_after_s:g}: with `--workers 0` this process trains, and can kill no other. Leave one "
            "out."
        )
    return Endurance(retries, patience_s, hang_after_s)


@dataclass(frozen=True)
class SweepPlan:
    """What a scheduler has to know of a sweep. `checkpoints` is the folder where the packs' checkpoints lie."""

    config: StudyConfig
    hypers: Mapping[str, Hyper]
    stream: Stream
    checkpoints: Path


@dataclass(frozen=True)
class Capacity:
    """How many packs are trained at the same time, and how many runs at most are in one."""

    workers: int
    pack_size: int


class Scheduler(Protocol):
    """Trains the packs that a driver hands out."""

    @property
    def interrupted(self) -> bool:
        """Whether the user has asked to end the sweep."""

    def capacity(self, plan: SweepPlan) -> Capacity:
        """What it can train at a time; has to be called before `run`."""

    def run(self, plan: SweepPlan, driver: Driver, on_change: Callable[[], None]) -> None:
        """Trains until the driver has finished or the user interrupts it; `on_change` is called after each report."""
