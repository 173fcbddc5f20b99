"""What MLflow is told of a bundle beside its files, from the same facts as `model.json`."""

from __future__ import annotations

from cfsweep.bundle.manifest import Manifest


def params(about: Manifest) -> dict[str, str]:
    """The settings, called `hp_...` as in the tables of a sweep, and what was trained on what."""
    return {
        "scenario": about.scenario,
        "stream": about.stream,
        "n_tasks": str(len(about.tasks)),
        "network": about.network.name,
        "remedies": ", ".join(about.ingredients) or "none",
        "study_id": about.study_id,
        "trial": str(about.trial),
        "seed": str(about.seed),
        "git_revision": about.git_revision or "unknown",
        **{f"hp_{name}": str(value) for name, value in about.settings.items()},
    }


def metrics(about: Manifest) -> dict[str, float]:
    """By part the scores at the end, of each task and their mean; without those that nobody measured."""
    found = {f"{part}_average_{about.score}": average for part, average in about.average.items()}
    for part, rows in about.scores.items():
        for task, score in enumerate(rows[-1] if rows else ()):
            if score is not None:
                found[f"{part}_task_{task}"] = score
    return found


def cut(values: dict[str, str], longest: int) -> tuple[dict[str, str], tuple[str, ...]]:
    """The values, none with more than `longest` characters, and the names of those that had more.

    >>> cut({"stream": "abcdef", "seed": "1"}, 4)
    ({'stream': 'abc…', 'seed': '1'}, ('stream',))
    """
    too_long = tuple(name for name, value in values.items() if len(value) > longest)
    return {name: f"{v[: longest - 1]}…" if name in too_long else v for name, v in values.items()}, too_long
