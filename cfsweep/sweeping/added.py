"""A task that has come to the user's data since a study began: no part of it, but of what its model may learn next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cfsweep.config import StudyConfig
from cfsweep.errors import InputError, few
from cfsweep.training.streams import Stream, load_stream, place_of


def added_since(config: StudyConfig, stream: Stream, study: Mapping[str, Any]) -> str | None:
    """That the folder or the table of a study has more tasks than `study.yaml` says, and how a model learns one, in one
    line; None where it has not, or where something else has changed, too, or the data are none of the user's files."""
    place = place_of(config.stream)
    if place is None:
        return None
    before = study.get("data_sha256", {})
    changed = [name for name in before if stream.files.get(name) != before[name]]
    new = [name for name in stream.files if name not in before]
    if stream.preprocessing is None:
        if changed or not new:
            return None
        paths = list(dict.fromkeys(place / name.split("/")[0] for name in new))
        what = few(f"`{path.name}`" for path in paths)
    else:
        came = _came_to_table(stream, study)
        if came is None or not (changed or new):
            return None
        paths = [place.parent / new[0]] if new and not changed else [place]
        what = f"{place.name} with {came}"
    return (
        f"{what} came after the study began, which knows nothing of it. Its model learns it next, once it is exported: "
        f"`cfsweep continue BUNDLE --task {paths[0]} --to NEW`."
    )


def _came_to_table(stream: Stream, study: Mapping[str, Any]) -> str | None:
    assert stream.preprocessing is not None
    told, until = [task["name"] for task in study["tasks"]], study.get("table", {}).get("until")
    if until is not None:
        return f"rows after {until}" if (stream.preprocessing.until or "") > until else None
    names = [task.name for task in stream.tasks]
    more = [f"`{name}`" for name in names if name not in told]
    return f"task {few(more)}" if more and set(told) <= set(names) else None


def news_of(config: StudyConfig, study: Mapping[str, Any]) -> str | None:
    """As `added_since`, of a study that is complete, whose data may be gone."""
    if place_of(config.stream) is None:
        return None
    try:
        return added_since(config, load_stream(config.stream), study)
    except InputError:
        return None
