"""How much of a study its sampler looks at, so that an answer costs the same at trial 100,000 as at trial 1,000."""

from __future__ import annotations

MOST_ENDED = 300  # ended trials; beyond, the best and the latest are kept
BEST = 50  # of them; TPE calls 25 (one objective) or a tenth (several) of what it looks at good
MOST_RUNNING = 100  # trials on their way, the latest ones


def history_note(trials: int) -> str | None:
    """Says that the sampler will not look at all trials; None for a study so short that it will."""
    if trials <= MOST_ENDED:
        return None
    return (
        f"{trials} trials: once more than {MOST_ENDED} have ended, TPE looks at the best {BEST} and the latest of the "
        "others alone, so that its answers take no longer than before."
    )
