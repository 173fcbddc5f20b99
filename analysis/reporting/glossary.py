"""The glossary at the end of the report: what every axis and metric is, and where the numbers come from."""

from __future__ import annotations

import json
from collections.abc import Mapping

from analysis.description import Study
from analysis.formatting import INTERVAL, for_html
from analysis.fronts import Front
from analysis.uncertainty import DRAWS
from cfsweep.metrics import ALL_METRICS

_OTHERS = (
    ("R[t, i]", "score on task i after training on task t, both counted from 0; R[-1, i] before any training; "
     "A(i, n) at evaluation n, J[t, i] of the joint reference"),
    ("train_s", "seconds of training; a run's share of its pack, a first task shared with other runs in full"),
    ("stored_bytes", "bytes that the method keeps beside the network: replay examples, anchors, masks, "
     "held-out examples of old tasks that a stop rule looks at"),
    ("n_parameters", "parameters of the network that are trained"),
    ("± sd", "sample standard deviation over the seeds, and over the splits of the data that they take turns with "
     "where the study has several; absent with one seed"),
    ("done, stopped, failed", "ran to its end; ended early because it was losing; ended by an error. Only the trials "
     "that are done with every seed are ranked; seeds that are being added count once every trial has them"),
    ("corrected", "expected true mean, shrunk towards where the trials lie: the raw means of the best are flattered by "
     "the choice among many. With fewer than three seeds there is none, and no interval. – for the default, which was "
     "named beforehand, so that nothing is taken off, unless it is the best"),
    ("front share", f"share of {DRAWS:,} draws of all trials' true means, as the seeds leave them possible, in which "
     "no other trial is as good in all objectives and better in one. Near a probability where trials lie in a cloud; "
     "too low where many lie along one trade-off curve (docs/uncertainty.md). With one split it leaves out the chance "
     "of which examples validate"),
    (INTERVAL, "of a difference named beforehand: Student's, of paired seeds; of a chosen trial's, and of the "
     "hypervolume: from a model of the trials' true means. docs/uncertainty.md shows how often they hold"),
    ("hypervolume", "volume that the front dominates above the reference point (the worst value of a metric, "
     "that of the constant answer where there is no worst; 1.1 times "
     "the largest cost), costs divided by their largest value among the trials"),
    ("importance", "drop of a random forest's R² on held-out trials when a setting's values are shuffled; it is "
     "above 1 where the forest then predicts worse than the mean, R² being below 0. Where a setting could not act, a "
     "random one of its values in other trials stands in"),
    ("–", "no value; of a setting: it could not act, as where its ingredient is off"),
    ("gap recovered", "(best - naive) / (joint - naive) in average score, the best corrected for the choice among "
     "many where there are three seeds"),
    ("naive, joint", "no remedy; trained on all data so far at every task. References, never on the front"),
    ("majority", "the constant answer: each example gets the most frequent class of the training data so far, among "
     "those that are possible for it. A reference; a trial that does not beat it has learned nothing that the score "
     "shows. It is in the figure where there is such a trial"),
)  # fmt: skip


_ORIGINS = (
    ("study", "study_id"),
    ("created", "created_at"),
    ("configuration", "config"),
    ("tasks", "tasks"),
    ("SHA-256 of the data", "data_sha256"),
    ("versions", "versions"),
    ("git revision", "git_revision"),
)


def glossary(about: Study, found: Front) -> str:
    """Definitions and origins as HTML."""
    mixed = (
        "mixed",
        f"mean over t >= 1 of w mean_{{i<t}} R[t, i] + (1-w) R[t, t], w = {about.old_weight:g}",
    )
    definitions = [(m.name, f"{m.definition} ({m.source})") for m in ALL_METRICS]
    origins = [(name, _one_text(about.raw[key])) for name, key in _ORIGINS if about.raw.get(key)]
    origins += conventions(about.raw.get("conventions"))
    origins.append(("objectives of the front", ", ".join(found.objectives)))
    origins.append(("normalisation of the hypervolume", found.normalisation))
    return (
        f"<footer><h2>What the words mean</h2>{_list([*_OTHERS[:1], *definitions, mixed, *_OTHERS[1:]])}"
        f"<h2>Where the numbers come from</h2>{_list(origins)}</footer>"
    )


def conventions(content: object) -> list[tuple[str, str]]:
    """What `conventions` in `study.yaml` says, as one (name, plain text) per ingredient that it says something of.

    For an ingredient it holds a mapping from a part, such as `penalty` or `fisher`, to a text, or to several where a
    searched setting decides between them: one line per part. In older folders it holds one text.

    >>> conventions({"ewc": {"penalty": ["separate", "online"]}, "si": "Omega >= 0"})
    [('convention of ewc', 'penalty: separate; or online'), ('convention of si', 'Omega >= 0')]
    """
    if not isinstance(content, Mapping):
        return [("conventions", _one_text(content))] if content else []
    texts = {str(ingredient): _convention(said) for ingredient, said in content.items()}
    return [(f"convention of {ingredient}", text) for ingredient, text in texts.items() if text]


def _convention(said: object) -> str:
    if isinstance(said, Mapping):
        return "\n".join(f"{part}: {_alternatives(text)}" for part, text in said.items() if text)
    return _alternatives(said)


def _alternatives(said: object) -> str:
    return "; or ".join(map(str, said)) if isinstance(said, list) else str(said or "")


def _one_text(content: object) -> str:
    if isinstance(content, Mapping):
        return "; ".join(f"{key}: {_json_or_text(inner)}" for key, inner in content.items())
    if isinstance(content, list):
        return "; ".join(_json_or_text(inner) for inner in content)
    return str(content)


def _json_or_text(content: object) -> str:
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, default=str)


def _list(pairs: list[tuple[str, str]]) -> str:
    items = (f"<dt>{for_html(name)}</dt><dd>{for_html(text)}</dd>" for name, text in pairs)
    return f"<dl>{''.join(items)}</dl>"
