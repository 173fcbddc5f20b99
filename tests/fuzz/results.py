"""Cases of what lies in the folder of a study."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from cfsweep.results.sealing import CHECK_DIGITS, sealed_line, sealed_text
from tests.fuzz import values
from tests.fuzz.cases import Case, Edit, file_edit, from_tree, tree_edit, write
from tests.fuzz.templates import needed

CHECKERS: tuple[tuple[str, ...], ...] = (("check", "study"), ("repair", "study"))
READERS: tuple[tuple[str, ...], ...] = (
    *CHECKERS,
    *(("status", "study"), ("front", "study"), ("table", "study"), ("report", "study", "--out", "page.html")),
    *(
        ("select", "study", "--replace"),
        ("select", "study", "--rule", "knee"),
        ("gate", "study", "--min-average-score", "0.1"),
    ),
    *(
        ("gate", "study", "--beats", "naive"),
        ("compare", "study"),
        ("compare", "study", "--first", "0", "--second", "1"),
    ),
    *(("resume", "study", "--workers", "0", "--trials", "+1"), ("confirm", "study", "--workers", "0", "--seeds", "3")),
    *(
        ("export", "study", "--to", "other"),
        ("resume", "study", "--workers", "0"),
        ("table", "study", "--format", "csv"),
    ),
)


def study(rng: random.Random, templates: Path) -> Case:
    content = yaml.safe_load(needed(templates, "study/study.yaml").read_text())
    reads = rng.choice(READERS)
    if rng.random() < 0.15:
        about, change = values.damage_bytes(rng)
        return Case("study", reads, ("study",), (Edit(f"study.yaml: {about}", file_edit("study/study.yaml", change)),))
    part = rng.choice([key for key in content if isinstance(content[key], dict | list)] + ["config", "hypers", ""])
    edits = []
    for _ in range(rng.choice((1, 1, 2))):
        about, change = values.damage_tree(
            rng, {part: content[part]} if part and content[part] else content, values.YAML_TRICKS
        )
        edits.append(tree_edit("study/study.yaml", about, change))
    rehash = rng.random() < 0.7
    finish = from_tree("study/study.yaml", content, _sealed, with_its_id if rehash else None)
    return Case("study", reads, ("study",), tuple(edits), after=finish)


def _sealed(content: Any) -> bytes:
    """As somebody else may write it, who knows how: nothing in it was altered since."""
    return sealed_text(values.as_yaml(content))


def with_its_id(content: Any) -> Any:
    """The study with the id that its config has: somebody else may write one."""
    from cfsweep import identity
    from cfsweep.config import StudyConfig

    try:
        config = StudyConfig.model_validate(identity.with_earlier_defaults(StudyConfig, content["config"]))
        content["study_id"] = config.study_id
    except Exception:
        pass
    return content


def selection(rng: random.Random, templates: Path) -> Case:
    content = json.loads(needed(templates, "study/selection.json").read_text())
    reads = rng.choice(READERS)
    if rng.random() < 0.2:
        about, change = values.damage_bytes(rng)
        return Case(
            "selection",
            reads,
            ("study",),
            (Edit(f"selection.json: {about}", file_edit("study/selection.json", change)),),
        )
    if rng.random() < 0.1:
        kept = rng.sample(sorted(content), rng.randrange(1, 4)) + ["trial", "study_id"]
        edits = [
            Edit(
                f"only {kept}",
                lambda folder: write(
                    folder / "study/selection.json", json.dumps({k: content[k] for k in kept}).encode()
                ),
            )
        ]
        return Case("selection", reads, ("study",), tuple(edits))
    top = {key: value for key, value in content.items() if key != "validation"} if rng.random() < 0.7 else content
    edits = [
        tree_edit("study/selection.json", *values.damage_tree(rng, top, values.JSON_TRICKS))
        for _ in range(rng.choice((1, 1, 2)))
    ]
    return Case(
        "selection", reads, ("study",), tuple(edits), after=from_tree("study/selection.json", content, values.as_json)
    )


def part(rng: random.Random, templates: Path) -> Case:
    """Parts of the tables of results."""
    parts = sorted(str(path.relative_to(templates)) for path in needed(templates, "study").rglob("*.parquet"))
    name = rng.choice(parts)
    about, change = values.damage_bytes(rng)
    return Case("part", rng.choice(READERS), ("study",), (Edit(f"{name}: {about}", file_edit(name, change)),))


def journal(rng: random.Random, templates: Path) -> Case:
    about, change = values.damage_bytes(rng)
    edits = [Edit(f"journal: {about}", file_edit("study/journal.jsonl", change))]
    reads = ("resume", "study", "--workers", "0", "--trials", "+1")
    return Case(
        "journal",
        rng.choice((reads, reads, ("confirm", "study", "--workers", "0", "--seeds", "3"))),
        ("study",),
        tuple(edits),
    )


def ledger(rng: random.Random, templates: Path) -> Case:
    """The ledger of the study, or of what was confirmed of it: bytes, whole lines, or values within them; for half as
    somebody else may write it, who knows how: each line is then sealed, and follows on the one before."""
    name = rng.choice(("study/commits.jsonl", "study/commits.jsonl", "study/confirmed/commits.jsonl"))
    sealed = rng.random() < 0.5
    seal = partial(_resealed, name) if sealed else None
    reads, again = rng.choice((*READERS, *CHECKERS, *CHECKERS)), ", sealed anew" if sealed else ""
    if rng.random() < 0.4:
        about, change = values.damage_bytes(rng) if rng.random() < 0.5 else _damage_lines(rng)
        edit = Edit(f"{name}: {about}{again}", file_edit(name, change))
        return Case("ledger", reads, ("study",), (edit,), after=seal)
    content = [json.loads(line) for line in needed(templates, name).read_text().splitlines()]
    edits = [
        tree_edit(name, f"{about}{again}", change)
        for about, change in (
            values.damage_tree(rng, content, values.JSON_TRICKS) for _ in range(rng.choice((1, 1, 2)))
        )
    ]
    write_lines = from_tree(name, content, _as_lines)
    return Case(
        "ledger", reads, ("study",), tuple(edits), after=lambda folder: (write_lines(folder), seal and seal(folder))
    )


def _damage_lines(rng: random.Random) -> tuple[str, Callable[[bytes], bytes]]:
    """Lines dropped, twice, in another order, or without their end, in words and as a function of the file."""
    way, one, other = rng.choice(("drop", "twice", "swap", "join", "blank")), rng.random(), rng.random()

    def change(old: bytes) -> bytes:
        lines = old.splitlines(keepends=True)
        at, to = (int(place * len(lines)) for place in (one, other))
        if way == "swap":
            lines[at], lines[to] = lines[to], lines[at]
        elif way == "twice":
            lines.insert(to, lines[at])
        else:
            lines[at] = {"drop": b"", "join": lines[at].rstrip(b"\n"), "blank": b"\n"}[way]
        return b"".join(lines)

    return f"{way} a line at {one:.3f} and {other:.3f}", change


def _as_lines(content: list[Any]) -> bytes:
    return b"".join(values.as_json(line, indent=None) + b"\n" for line in content)


_SEAL = re.compile(rb'(,"before":"[^"]*")?,"check":"[0-9a-f]{%d}"}\n?$' % CHECK_DIGITS)


def _resealed(name: str, folder: Path) -> None:
    """Whatever is in its lines, each says that it is whole, and that it follows on the one before."""
    before, lines = "", []
    for line in (folder / name).read_bytes().splitlines(keepends=True):
        found = _SEAL.search(line)
        if found is not None:
            chained = b',"before":"%s"' % before.encode() if found[1] is not None else b""
            line, before = sealed_line(line[: found.start()] + chained + b"}")
        lines.append(line)
    write(folder / name, b"".join(lines))
