"""Cases of bundles, and of what their models are given."""

from __future__ import annotations

import hashlib
import json
import random
from functools import partial
from pathlib import Path

from tests.fuzz import values
from tests.fuzz.cases import Case, Edit, file_edit, from_tree, other_thing, tree_edit
from tests.fuzz.own_data import any_array
from tests.fuzz.templates import BUNDLE_FILES, needed

BUNDLE_READERS: tuple[tuple[str, ...], ...] = (
    ("continue", "bundle", "--task", "next.npz", "--to", "out"),
    ("gate", "--champion", "bundle", "--candidate", "bundle", "--max-drop", "0.1"),
    ("continue", "bundle", "--task", "next.npz", "--to", "out", "--set", "lr=0.1"),
)
BUNDLE_USES = ("bundle", "next.npz")
TABLE_READERS: tuple[tuple[str, ...], ...] = (
    ("predict", "table-bundle", "rows.csv", "--to", "answers.csv"),
    ("gate", "--champion", "table-bundle", "--candidate", "table-bundle", "--max-drop", "0.1"),
)


def bundle(rng: random.Random, templates: Path) -> Case:
    of, readers, used = rng.choice(
        (("bundle", BUNDLE_READERS, "next.npz"), ("table-bundle", TABLE_READERS, "rows.csv"))
    )
    reads, uses = rng.choice(readers), (of, used)
    writes = {"predict": "answers.csv", "continue": "out"}.get(reads[0])
    if rng.random() < 0.5:
        path = f"{of}/model.json"
        content = json.loads(needed(templates, path).read_text())
        edits = [
            tree_edit(path, *values.damage_tree(rng, content, values.JSON_TRICKS)) for _ in range(rng.choice((1, 1, 2)))
        ]
        return Case("bundle", reads, uses, tuple(edits), writes, from_tree(path, content, values.as_json))
    name = rng.choice(BUNDLE_FILES)
    about, change = values.damage_bytes(rng)
    rehash = partial(hashes, of) if rng.random() < 0.7 and name != "model.json" else None
    return Case("bundle", reads, uses, (Edit(f"{name}: {about}", file_edit(f"{of}/{name}", change)),), writes, rehash)


def hashes(of: str, folder: Path) -> None:
    """The bundle's files are noted as they are: the damage came before."""
    path = folder / of / "model.json"
    content = json.loads(path.read_text())
    for name in content["files"]:
        content["files"][name] = hashlib.sha256((folder / of / name).read_bytes()).hexdigest()
    path.write_text(json.dumps(content))


def predicted(rng: random.Random) -> Case:
    """Rows for a model."""
    name = rng.choice(("rows.csv", "rows.parquet"))
    about, change = values.damage_bytes(rng)
    edit = Edit(f"{name}: {about}", file_edit(name, change)) if rng.random() < 0.6 else other_thing(rng, name)
    return Case(
        "predict",
        ("predict", "table-bundle", name, "--to", "answers.csv"),
        ("table-bundle", name),
        (edit,),
        "answers.csv",
    )


def next_task(rng: random.Random) -> Case:
    edit = any_array(rng, "next.npz") if rng.random() < 0.6 else other_thing(rng, "next.npz")
    return Case("next task", ("continue", "bundle", "--task", "next.npz", "--to", "out"), BUNDLE_USES, (edit,), "out")
