"""The strength of each remedy, and the range in which a search looks for it; the same in every table.

The ranges are wide, as the right strength moves by decades with the data: where a network learns few images to
certainty, a Fisher or an importance is next to nothing, and only a large factor makes something of it. With the ten
trials of `Budget` a range of eight decades is tried at each of its decades.
"""

from __future__ import annotations

from collections.abc import Mapping

from cfsweep.config import Choices, Range, Searched


def _log(low: float, high: float) -> Range:
    return Range(low=low, high=high, log=True)


STRENGTHS: Mapping[str, dict[str, Searched]] = {
    "ewc": {"ewc_lambda": _log(1.0, 1e8)},
    "si": {"si_c": _log(1e-2, 1e6)},
    "mas": {"mas_lambda": _log(1e-3, 1e5)},
    "l2-sp": {"l2_sp_lambda": _log(1e-4, 1e4)},
    "lwf": {"lwf_alpha": _log(1e-2, 1e2)},
    "feature-distillation": {"feature_weight": _log(1e-6, 1e2)},
    "replay": {"replay_ratio": Range(low=0.1, high=0.9)},
    "der++": {"der_alpha": _log(1e-2, 1e2)},
    "der++-online": {"der_online_alpha": _log(1e-2, 1e2)},
    "generative-replay": {"generative_weight": _log(0.1, 10.0)},
    "freeze": {"freeze_depth": Choices(choices=(1, 2))},  # of three layers; without the last nothing could be learned
    "packnet": {"packnet_rate": Range(low=0.3, high=0.9)},
    "adapters": {"adapter_width": Choices(choices=(4, 16, 64))},  # each needs packs of its own
    "early-stopping": {"patience": Range(low=1, high=10)},
    "forgetting-limit": {"forgetting_limit": _log(0.01, 1.0)},
}  # er-ace, a-gem, a-gem-online, gdumb and icarl have none: what they have is a buffer, and that is what they cost


def strength_of(ingredients: tuple[str, ...]) -> dict[str, Searched]:
    """What a search of these ingredients looks for, by its name.

    >>> strength_of(("er-ace",)), list(strength_of(("ewc", "replay")))
    ({}, ['ewc_lambda', 'replay_ratio'])
    """
    return {name: of for ingredient in ingredients for name, of in STRENGTHS.get(ingredient, {}).items()}
