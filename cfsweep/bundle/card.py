"""`MODEL_CARD.md` of a bundle, from the same facts as `model.json`, and what was confirmed beside the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cfsweep.bundle.manifest import ADOPTED, Manifest, TaskInfo
from cfsweep.texts import code, for_markdown, score_text
from cfsweep.training.ingredients import ingredient_class
from cfsweep.training.streams import Preprocessing

JOINTLY = "on the data of all tasks so far"
IN_WORDS = {"validation": "validation data", "test": "test data"}
STANDARDISED = {
    "scalar": "all values alike",
    "channel": "channel by channel",
    "feature": "column by column",
    "unit": "divided by 255 (unit)",
    "imagenet": "divided by 255, then by ImageNet's mean and deviation (imagenet)",
}


def card(
    about: Manifest, table: Preprocessing | None = None, compared: Mapping[str, Sequence[str]] | None = None
) -> str:
    """The page as Markdown; `table` is what makes examples of the rows of one, where the data are that. `compared` has
    the average scores of the trials and references that were confirmed with this one: a cell for each, by heading."""
    settings = "\n".join(f"| {code(name)} | {for_markdown(value)} |" for name, value in sorted(about.settings.items()))
    tasks = "\n".join(
        f"| {number} | {for_markdown(task.name)} | {_labels(_classes(about, task))} | {_labels(task.labels)} |"
        for number, task in enumerate(about.tasks)
    )
    trained = "elsewhere" if about.purpose == ADOPTED else JOINTLY if about.joint else "on one task after the other"
    parts = [
        f"# Trial {about.trial} of study {for_markdown(about.study_id)}, seed {about.seed}",
        f"{code(about.network.name)}, trained {trained} on {code(about.stream)} ({about.scenario}). "
        f"Remedies: {_remedies(about)}. "
        f"Written on {about.created_at} by cfsweep {about.made_with['cfsweep']}, revision "
        f"{about.git_revision or 'unknown'}." + _begun_with(about) + _augmented(about) + _continued(about),
        f"An example is {' x '.join(map(str, about.input_shape))}, {about.input_dtype}, "
        f"{_seen(about)}. It answers with {about.n_outputs} output{'s' * (about.n_outputs != 1)}"
        + (", and must be told the task." if about.needs_task else "."),
        *_encoder(about),
        *(_scores(about, part) for part in about.scores if about.scores[part]),
        *_compared(about, compared),
        "## Tasks\n\n| task | name | its classes | what it is answered with |\n|---|---|---|---|\n" + tasks,
        *([_columns(table)] if table else []),
        f"## Settings\n\n| setting | value |\n|---|---|\n{settings}",
        "## What is kept for the next task\n\n"
        f"{'Examples' if about.has_examples else 'No examples'} of the tasks are in this bundle.",
        "## Data\n\n"
        + (
            "\n".join(
                f"- {for_markdown(name)}: SHA-256 {for_markdown(digest)}" for name, digest in about.data_sha256.items()
            )
            or "–"
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _remedies(about: Manifest) -> str:
    """Those that act, and apart from them those that were switched off."""
    off = [name for name in about.ingredients if ingredient_class(name).is_off(about.settings)]
    on = ", ".join(code(name) for name in about.ingredients if name not in off) or "none"
    return on + (f" (off: {', '.join(map(code, off))})" if off else "")


def _seen(about: Manifest) -> str:
    """How the model sees an example."""
    by = STANDARDISED.get(about.standardised)
    return "and the model takes it as it is" if by is None else f"not standardised: the model does that, {by}"


def _classes(about: Manifest, task: TaskInfo) -> tuple[int | str, ...]:
    """The user's labels of the classes that the task itself has."""
    return tuple(about.class_ids[label] if about.class_ids else label for label in task.classes)


def _compared(about: Manifest, cells: Mapping[str, Sequence[str]] | None) -> list[str]:
    if not cells:
        return []
    rows = [f"| {' | '.join(map(for_markdown, row))} |" for row in zip(*cells.values(), strict=True)]
    table = "\n".join([f"| {' | '.join(cells)} |", "|---" * len(cells) + "|", *rows])
    corrected = " `corrected`: without what the choice of the best flatters it by." if "corrected" in cells else ""
    return [
        f"## Beside the other confirmed trials\n\nAverage {about.score} at the end, mean ± standard deviation over "
        f"seeds.{corrected}\n\n{table}"
    ]


def _encoder(about: Manifest) -> list[str]:
    """What makes the examples that the model sees, where something does."""
    found = about.encoder
    if found is None:
        return []
    what = "texts" if found.input_shape is None else f"{' x '.join(map(str, found.input_shape))}, {found.input_dtype}"
    return [
        f"These are the features that encoder {code(found.name)} makes of what the user has ({what}), with the "
        f"arguments {for_markdown(found.args)}, code and weights of SHA-256 {found.sha256}. It is not in this bundle: "
        "`cfsweep.load` finds it by its name, `model.pt2` takes features."
    ]


def _begun_with(about: Manifest) -> str:
    """What its first weights were and knew, and what of them training has left alone."""
    said = ""
    if about.network.init_sha256 is not None:
        said += f" It began with weights from a file (SHA-256 {about.network.init_sha256})."
    if learned := about.tasks[: about.stream_config.learned]:
        said += f" They knew {', '.join(f'`{task.name}`' for task in learned)}, evaluated and never trained."
    if about.network.freeze:
        said += f" Held as they were: {', '.join(f'`{name}`' for name in about.network.freeze)}."
    return said


def _augmented(about: Manifest) -> str:
    names = ", ".join(map(code, about.stream_config.augment))
    return f" In training images were augmented by {names}." if names else ""


def _continued(about: Manifest) -> str:
    return f" Its last task, {code(about.tasks[-1].name)}, was continued with." if about.continues else ""


def _columns(table: Preprocessing) -> str:
    target = code(table.settings.target)
    if table.text is not None:
        said = f"The encoder sees the texts of column {code(table.text)}; the label is {target}."
        return f"## Columns\n\n{said}"
    words = (", ".join(code(word) for word in c.words if word) or "–" for c in table.columns)
    rows = (f"| {code(c.name)} | {c.kind} | {said} |" for c, said in zip(table.columns, words, strict=True))
    which = "the first task" if table.settings.preprocessing == "first" else "each task and those before"
    return (
        f"## Columns\n\nA row of a table is made an example by what the training rows of {which} hold; the label is "
        f"{target}.\n\n| column | kind | words |\n|---|---|---|\n" + "\n".join(rows)
    )


def _labels(labels: tuple[int | str | None, ...]) -> str:
    return ", ".join(for_markdown(label) for label in labels if label is not None) or "–"


def _scores(about: Manifest, part: str) -> str:
    rows, names = about.scores[part], [code(name) for name in about.task_names]
    first = "untrained" if about.network.init_sha256 is None else "first weights"
    lines = [
        f"| {first if t == 0 else f'after {names[t - 1]}'} | " + " | ".join(map(_shown, row)) + " |"
        for t, row in enumerate(rows)
    ]
    table = "\n".join([f"| | {' | '.join(names)} |", "|---|" + "---|" * len(rows[0]), *lines])
    end = f"{score_text(about.average[part])} at the end" if part in about.average else "not known of every task"
    behind = about.behind_constant.get(part)
    return f"## {for_markdown(about.score.capitalize())} on {IN_WORDS[part]}: {end}\n\n{table}" + (
        f"\n\n{behind}" if behind else ""
    )


def said_of_last_task(about: Manifest) -> str:
    """One line on how the model does on the task that it learned last."""
    scores = ", ".join(f"{_shown(rows[-1][-1])} on {IN_WORDS[part]}" for part, rows in about.scores.items() if rows)
    return f"task {code(about.task_names[-1])}: {about.score} {scores}"


def said_of_constant(about: Manifest) -> str | None:
    """`Manifest.behind_constant` of the last part that has scores, which is test data where there are some."""
    parts = [part for part, rows in about.scores.items() if rows]
    return about.behind_constant.get(parts[-1]) if parts else None


def _shown(score: float | None) -> str:
    return "–" if score is None else score_text(score)
