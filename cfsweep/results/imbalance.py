"""Where one class outweighs the others so far that accuracy cannot see them."""

from __future__ import annotations

from collections.abc import Sequence

from cfsweep.errors import few

BLINDING_SHARE = 0.8  # of a task's validation examples in one class


def blind_note(tasks: Sequence[str], shares: Sequence[float]) -> str | None:
    """Names the tasks whose most frequent class has `BLINDING_SHARE` of the validation examples or more; None without
    any. `shares`, in [0, 1], are those of that class, one for each of the `tasks`.

    >>> print(blind_note(["april", "march"], [0.5, 0.92]))
    task `march`: 92 % of its validation examples are of one class, so accuracy hardly sees the others. Look at what a \
trial has beyond `majority`, the constant answer.
    >>> print(blind_note(["april", "march"], [0.96, 0.92]).partition(".")[0])
    tasks `april`, `march`: 92 % or more of the validation examples of each are of one class, so accuracy hardly sees \
the others
    >>> print(blind_note(["april", "march"], [1.0, 1.0]).partition(",")[2].partition(",")[0].strip())
    `march`: 100 % of the validation examples of each are of one class
    >>> blind_note(["april", "march"], [0.5, 0.6]) is None
    True
    """
    blind = {name: share for name, share in zip(tasks, shares, strict=True) if share >= BLINDING_SHARE}
    if not blind:
        return None
    least = f"{100 * min(blind.values()):.3g} %"
    names = few(f"`{name}`" for name in blind)
    told = f"task {names}: {least} of its validation examples are of one class"
    if len(blind) > 1:
        more = " or more" if max(blind.values()) > min(blind.values()) else ""
        told = f"tasks {names}: {least}{more} of the validation examples of each are of one class"
    beyond = "Look at what a trial has beyond `majority`, the constant answer."
    return f"{told}, so accuracy hardly sees the others. {beyond}"
