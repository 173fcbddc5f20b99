"""The kinds of cases, and how often they come."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.fuzz.bundles import bundle, next_task, predicted
from tests.fuzz.cases import Case
from tests.fuzz.commands import command, option, setting, space
from tests.fuzz.own_data import folder, images, table
from tests.fuzz.results import journal, ledger, part, selection, study
from tests.fuzz.weights import weights

Make = Callable[[random.Random, Path], Case]
KINDS: dict[str, tuple[int, Make]] = {  # with how often they come
    "space": (20, lambda rng, _: space(rng)),
    "set": (20, lambda rng, _: setting(rng)),
    "option": (8, lambda rng, _: option(rng)),
    "command": (8, lambda rng, _: command(rng)),
    "study": (20, study),
    "selection": (10, selection),
    "part": (5, part),
    "journal": (3, journal),
    "ledger": (8, ledger),
    "bundle": (8, bundle),
    "table": (12, lambda rng, _: table(rng)),
    "folder": (12, lambda rng, _: folder(rng)),
    "images": (3, lambda rng, _: images(rng)),
    "predict": (2, lambda rng, _: predicted(rng)),
    "next task": (3, lambda rng, _: next_task(rng)),
    "weights": (6, weights),
}


def case_of(seed: int, number: int, templates: Path, kinds: Sequence[str]) -> Case:
    """The case of this number, the same whatever others there are."""
    rng = random.Random(f"{seed}.{number}")
    kind = rng.choices(kinds, [KINDS[kind][0] for kind in kinds])[0]
    return KINDS[kind][1](rng, templates)
