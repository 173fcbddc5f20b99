"""The kinds of cases, each made of a seed: files that are damaged, and the command that reads them."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from tests.fuzz import values
from tests.fuzz.templates import BUNDLE_FILES, SPACE, TABLE_ARGS


@dataclass(frozen=True)
class Edit:
    """One change, in words: of the files in a folder, or of the command line, to which `args` are added."""

    about: str
    files: Callable[[Path], object] | None = None
    args: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    """`cfsweep ARGS` in a folder with `uses` of the templates, after the edits; `writes` is what it is to write."""

    kind: str
    args: tuple[str, ...]
    uses: tuple[str, ...] = ()
    edits: tuple[Edit, ...] = ()
    writes: str | None = None
    after: Callable[[Path], object] | None = None  # the edits

    @property
    def command_line(self) -> tuple[str, ...]:
        return (*self.args, *(part for edit in self.edits for part in edit.args))

    def lay(self, templates: Path, folder: Path) -> None:
        """Puts the files there."""
        folder.mkdir()
        for name in self.uses:
            source, target = templates / name, folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
        for edit in self.edits:
            if edit.files is not None:
                edit.files(folder)
        if self.after is not None:
            self.after(folder)

    def without(self, edit: Edit) -> Case:
        return replace(self, edits=tuple(other for other in self.edits if other is not edit))


# ------------------------------------------------------------------------------------------------ spaces and options

DRY = ("--dry-run",)
TRAINED = ("--workers", "0", "--trials", "2", "--out", "out")
KEYS = (
    *(
        "lr",
        "epochs",
        "batch_size",
        "momentum",
        "weight_decay",
        "optimizer",
        "replay_buffer",
        "replay_ratio",
        "ewc_lambda",
    ),
    *(
        "ewc_examples",
        "ewc_mode",
        "ewc_gamma",
        "fixed",
        "search",
        "fixed.lr",
        "search.lr",
        "search.ewc_lambda",
        "network",
    ),
    *(
        "search.replay_ratio",
        "search.replay_buffer",
        "search.epochs",
        "search.lr.low",
        "space",
        "space.search",
        "space.fixed",
    ),
    *("network.args", "network.args.hidden", "network.name", "network.init", "network.freeze", "network.micro_batch"),
    *("network.compile", "network.channels_last", "ingredients", "description", "scenario", "trainer", "stream"),
    *(
        "stream.name",
        "stream.n_tasks",
        "stream.class_order",
        "stream.validation_frac",
        "stream.steering_frac",
        "objective",
    ),
    *("stream.split_seed", "stream.splits", "stream.learned", "stream.validation", "stream.target", "stream.scores"),
    *(
        "stream.positive",
        "stream.class_weights",
        "stream.standardise",
        "stream.augment",
        "stream.args",
        "stream.encoder",
    ),
    *(
        "stream.encoder_args",
        "stream.data",
        "objective.name",
        "objective.old_weight",
        "objective.third",
        "seeds",
        "trials",
    ),
    *(
        "time_budget_s",
        "sampler_seed",
        "stop_trials",
        "references",
        "pack_runs",
        "share_prefix",
        "curve_points_per_task",
    ),
    *(
        "identity_version",
        "purpose",
        "first_seed",
        "",
        ".",
        "..",
        "lr.",
        ".lr",
        "a.b.c.d",
        "network.args.x",
        "early_stopping",
    ),
)
OPTIONS = (
    *("--stream", "--scenario", "--target", "--score", "--trials", "--seeds", "--splits", "--encoder", "--objective"),
    *("--data", "--pack", "--trainer", "--out", "--arg", "--set", "--gpus-per-worker", "--address", "--workers"),
)


def _text(rng: random.Random) -> str:
    """A hostile value as it stands on a command line, which holds no NUL."""
    value = values.hostile(rng, values.YAML_TRICKS)
    if not isinstance(value, str):
        value = (
            yaml.safe_dump(value, default_flow_style=True, width=10_000_000).removesuffix("\n").removesuffix("\n...")
        )
    return value.replace("\0", "\\0")[:100_000]


def _own_code(rng: random.Random) -> str:
    return rng.choice(
        ("math:sqrt", "os.path:join", "json:loads", "nowhere:x", "sys:nothing", "math:pi", ":", "a:", ":b", "sys:exit")
    )


def _trained(rng: random.Random) -> tuple[tuple[str, ...], str | None]:
    """Mostly a dry run, for some a sweep: what is accepted must work to the end."""
    return (TRAINED, "out") if rng.random() < 0.35 else (DRY, None)


def space(rng: random.Random) -> Case:
    content, edits = yaml.safe_load(SPACE), []
    args, writes = _trained(rng)
    if rng.random() < 0.15:
        about, change = values.damage_bytes(rng)
        edits = [Edit(f"space.yaml: {about}", _file("space.yaml", change))]
        return Case(
            "space", ("run", "space.yaml", "--stream", "tasks", *args), ("space.yaml", "tasks"), tuple(edits), writes
        )
    edits = [
        _tree_edit("space.yaml", *values.damage_tree(rng, content, values.YAML_TRICKS))
        for _ in range(rng.choice((1, 1, 2, 3)))
    ]
    command = ("run", "space.yaml", "--stream", "tasks", *args)
    return Case(
        "space",
        command,
        ("space.yaml", "tasks"),
        tuple(edits),
        writes,
        _from_tree("space.yaml", content, values.as_yaml),
    )


def setting(rng: random.Random) -> Case:
    args, writes = _trained(rng)
    edits = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        given = f"{rng.choice(KEYS)}={_own_code(rng) if rng.random() < 0.05 else _text(rng)}"
        edits.append(Edit(f"--set {given[:80]!r}", args=("--set", given)))
    return Case("set", ("run", "space.yaml", "--stream", "tasks", *args), ("space.yaml", "tasks"), tuple(edits), writes)


def option(rng: random.Random) -> Case:
    edits = []
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice(OPTIONS)
        given = _own_code(rng) if rng.random() < 0.1 else _text(rng)
        edits.append(Edit(f"{name} {given[:80]!r}", args=(f"{name}={given}",)))
    return Case(
        "option", ("run", "space.yaml", "--stream=tasks", *DRY), ("space.yaml", "tasks", "table.csv"), tuple(edits)
    )


OTHER_COMMANDS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("resume", "study", "--workers=0"), ("--trials", "--seeds")),
    (("confirm", "study", "--workers=0"), ("--trials", "--seeds")),
    (("export", "study"), ("--to", "--trial", "--seed")),
    (("select", "study"), ("--rule", "--at-least")),
    (("gate", "study"), ("--min-average-score", "--min-stability", "--beats", "--margin", "--json")),
    (("gate",), ("--champion", "--candidate", "--max-drop", "--data", "--stream", "--score")),
    (("front", "study"), ("--objectives", "--objective", "--x")),
    (("table", "study"), ("--sort", "--columns")),
    (("report", "study"), ("--out",)),
    (("compare", "study"), ("--first", "--second")),
    (("predict", "table-bundle", "rows.csv"), ("--to", "--task")),
    (("continue", "bundle"), ("--task", "--to", "--set", "--old", "--sweep", "--trials", "--seeds", "--data")),
    (("adopt", "bundle/weights.safetensors"), ("--stream", "--to", "--space", "--scenario", "--seed", "--set")),
    (("status",), ("study",)),
    (("list",), ("streams",)),
)


def command(rng: random.Random) -> Case:
    """Another command with hostile options; what it needs else is right."""
    args, names = rng.choice(OTHER_COMMANDS)
    edits = []
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice(names)
        given = (
            rng.choice(
                ("bundle", "tasks", "next.npz", "0", "1", "0,1", "-1", "selected", "front", "best", "lr=0.01", "out")
            )
            if rng.random() < 0.3
            else _text(rng)
        )
        edits.append(Edit(f"{name} {given[:80]!r}", args=(f"{name}={given}",) if name.startswith("-") else (given,)))
    needed = {
        "predict": ("--to=a.csv",),
        "export": ("--to=out",),
        "continue": ("--to=out", "--task=next.npz"),
        "adopt": ("--to=out", "--stream=tasks", "--space=space.yaml"),
        "gate": ("--champion=bundle", "--candidate=bundle", "--max-drop=0.1") if args == ("gate",) else (),
    }
    used = ("study", "bundle", "table-bundle", "tasks", "rows.csv", "next.npz", "space.yaml")
    return Case("command", (*args, *needed.get(args[0], ())), used, tuple(edits))


# ------------------------------------------------------------------------------------------------ a study's files

READERS: tuple[tuple[str, ...], ...] = (
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
    content = yaml.safe_load((templates / "study/study.yaml").read_text())
    reads = rng.choice(READERS)
    if rng.random() < 0.15:
        about, change = values.damage_bytes(rng)
        return Case("study", reads, ("study",), (Edit(f"study.yaml: {about}", _file("study/study.yaml", change)),))
    part = rng.choice([key for key in content if isinstance(content[key], dict | list)] + ["config", "hypers", ""])
    edits = []
    for _ in range(rng.choice((1, 1, 2))):
        about, change = values.damage_tree(
            rng, {part: content[part]} if part and content[part] else content, values.YAML_TRICKS
        )
        edits.append(_tree_edit("study/study.yaml", about, change))
    rehash = rng.random() < 0.7
    finish = _from_tree("study/study.yaml", content, values.as_yaml, _with_its_id if rehash else None)
    return Case("study", reads, ("study",), tuple(edits), after=finish)


def _with_its_id(content: Any) -> Any:
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
    content = json.loads((templates / "study/selection.json").read_text())
    reads = rng.choice(READERS)
    if rng.random() < 0.2:
        about, change = values.damage_bytes(rng)
        return Case(
            "selection", reads, ("study",), (Edit(f"selection.json: {about}", _file("study/selection.json", change)),)
        )
    if rng.random() < 0.1:
        kept = rng.sample(sorted(content), rng.randrange(1, 4)) + ["trial", "study_id"]
        edits = [
            Edit(
                f"only {kept}",
                lambda folder: _write(
                    folder / "study/selection.json", json.dumps({k: content[k] for k in kept}).encode()
                ),
            )
        ]
        return Case("selection", reads, ("study",), tuple(edits))
    top = {key: value for key, value in content.items() if key != "validation"} if rng.random() < 0.7 else content
    edits = [
        _tree_edit("study/selection.json", *values.damage_tree(rng, top, values.JSON_TRICKS))
        for _ in range(rng.choice((1, 1, 2)))
    ]
    return Case(
        "selection", reads, ("study",), tuple(edits), after=_from_tree("study/selection.json", content, values.as_json)
    )


def part(rng: random.Random, templates: Path) -> Case:
    """Parts of the tables of results."""
    parts = sorted(str(path.relative_to(templates)) for path in (templates / "study").rglob("*.parquet"))
    name = rng.choice(parts)
    about, change = values.damage_bytes(rng)
    return Case("part", rng.choice(READERS), ("study",), (Edit(f"{name}: {about}", _file(name, change)),))


def journal(rng: random.Random, templates: Path) -> Case:
    about, change = values.damage_bytes(rng)
    edits = [Edit(f"journal: {about}", _file("study/journal.jsonl", change))]
    reads = ("resume", "study", "--workers", "0", "--trials", "+1")
    return Case(
        "journal",
        rng.choice((reads, reads, ("confirm", "study", "--workers", "0", "--seeds", "3"))),
        ("study",),
        tuple(edits),
    )


# ------------------------------------------------------------------------------------------------ bundles

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
        content = json.loads((templates / path).read_text())
        edits = [
            _tree_edit(path, *values.damage_tree(rng, content, values.JSON_TRICKS))
            for _ in range(rng.choice((1, 1, 2)))
        ]
        return Case("bundle", reads, uses, tuple(edits), writes, _from_tree(path, content, values.as_json))
    name = rng.choice(BUNDLE_FILES)
    about, change = values.damage_bytes(rng)
    rehash = partial(_hashes, of) if rng.random() < 0.7 and name != "model.json" else None
    return Case("bundle", reads, uses, (Edit(f"{name}: {about}", _file(f"{of}/{name}", change)),), writes, rehash)


def _hashes(of: str, folder: Path) -> None:
    """The bundle's files are noted as they are: the damage came before."""
    path = folder / of / "model.json"
    content = json.loads(path.read_text())
    for name in content["files"]:
        content["files"][name] = hashlib.sha256((folder / of / name).read_bytes()).hexdigest()
    path.write_text(json.dumps(content))


# ------------------------------------------------------------------------------------------------ own data


def table(rng: random.Random) -> Case:
    name = rng.choice(("table.csv", "table.csv", "table.parquet"))
    about, change = _cells(rng) if rng.random() < 0.6 and name == "table.csv" else values.damage_bytes(rng)
    edits = [
        Edit(f"{name}: {about}", _file(name, change) if name != "table.parquet" or rng.random() < 0.3 else _column(rng))
    ]
    for _ in range(rng.choice((0, 0, 1))):
        given = f"{rng.choice(('target', 'task', 'date', 'split', 'types', 'drop', 'x', 'columns', 'tasks', 'text'))}={rng.choice(('a', 'label', 'month', 'kind', 'day', _text(rng)))}"
        edits.append(Edit(f"--arg {given[:80]!r}", args=("--arg", given)))
    args, writes = _trained(rng)
    scenario = rng.choice(("domain-il", "domain-il", "class-il", "task-il"))
    command = ("run", "space.yaml", "--stream", name, *TABLE_ARGS, "--scenario", scenario, *args)
    return Case("table", command, ("space.yaml", name), tuple(edits), writes)


CELLS = (
    *(
        "",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "1e-320",
        "1e308",
        str(10**20),
        str(2**63),
        str(2**62),
        "-1",
        "0.5",
        "x",
        '"',
        '""',
        "a,b",
    ),
    *(
        "\x00",
        "\x85",
        "é",
        "\ufeff1",
        " 1",
        "1 ",
        "+1",
        "0x10",
        "1_000",
        "2021-13-45",
        "2024-02-30",
        "9999-12-31",
        "0001-01-01",
        "true",
    ),
    *(
        "x" * 10_000,
        "x" * 3_000_000,
        "\r",
        "a\nb",
        "\ud800",
        "²",
        "1;2",
        "=1+1",
        "NA",
        "None",
        "99999-01-01",
        "1" * 400,
    ),
)


def _cells(rng: random.Random) -> tuple[str, Callable[[bytes], bytes]]:
    """Cells of a table: one, or a whole column of them, or its name."""
    cell, column, row, whole = rng.choice(CELLS), rng.randrange(7), rng.randrange(0, 60), rng.random() < 0.3

    def change(old: bytes) -> bytes:
        lines = [line.split(",") for line in old.decode().splitlines()]
        for line in lines[1:] if whole and len(cell) < 20_000 else [lines[row]]:
            line[column] = cell
        return "\n".join(map(",".join, lines)).encode("utf-8", "surrogatepass")

    return f"{'column' if whole else f'row {row}, column'} {column} = {cell[:40]!r}", change


def _column(rng: random.Random) -> Callable[[Path], None]:
    return column(rng.randrange(len(_TYPES)), rng.choice(("a", "kind", "day", "label", "month")))


def column(number: int, name: str) -> Callable[[Path], None]:
    """Makes a column of Parquet one of another type."""

    def change(folder: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        for path in [*folder.glob("table.parquet"), *folder.glob("parquet/t0.parquet")]:
            found = pq.read_table(path)
            at = name if name in found.column_names else found.column_names[number % found.num_columns]
            made = _TYPES[number](pa, found.num_rows)
            pq.write_table(found.set_column(found.column_names.index(at), at, made), path)

    return change


def _typed(make: Callable[[int], Any], kind: str, *args: Any) -> Callable[[Any, int], Any]:
    return lambda pa, n: pa.array([make(i) for i in range(n)], getattr(pa, kind)(*args))


_TYPES: tuple[Callable[[Any, int], Any], ...] = (
    _typed(lambda i: 2**64 - 1 - i, "uint64"),
    _typed(lambda i: 2**62 + i % 2, "int64"),
    _typed(lambda i: i % 2 * 10**9, "int64"),
    _typed(lambda i: -i, "int8"),
    _typed(lambda i: b"\xff\0", "binary"),
    _typed(lambda i: None, "null"),
    _typed(lambda i: 1.0 if i else float("nan"), "float64"),
    _typed(lambda i: float("inf"), "float32"),
    _typed(lambda i: 10**30 + i, "decimal128", 38, 3),
    _typed(lambda i: i, "duration", "ns"),
    _typed(lambda i: 2**50 + i, "timestamp", "s"),
    _typed(lambda i: -(2**62) + i, "timestamp", "ms", "Europe/Berlin"),
    _typed(lambda i: 2**30 + i, "date32"),
    _typed(lambda i: i % 86400, "time32", "s"),
    _typed(lambda i: "x" * 100 if i % 2 else "", "large_string"),
    lambda pa, n: pa.array([{"a": i} for i in range(n)]),
    lambda pa, n: pa.array([[i] * (i % 3) for i in range(n)]),
    lambda pa, n: pa.array(["ab"[i % 2] for i in range(n)]).dictionary_encode(),
    lambda pa, n: pa.array([i % 2 == 0 for i in range(n)]),
    lambda pa, n: pa.array([1e300 if i % 2 else 1e-300 for i in range(n)]),
)


def folder(rng: random.Random) -> Case:
    """Task files: damaged, of other types and shapes, or no files at all."""
    of_parquet = rng.random() < 0.4
    root, name = ("parquet", "t0.parquet") if of_parquet else ("tasks", "t0.npz")
    pick = rng.random()
    if pick < 0.3:
        about, change = values.damage_bytes(rng)
        edit = Edit(f"{root}/{name}: {about}", _file(f"{root}/{name}", change))
    elif pick < 0.5:
        edit = _other_thing(rng, f"{root}/{rng.choice((name, 'new' + name, 'x'))}")
    elif of_parquet:
        edit = Edit("a column of another type", _column(rng))
    else:
        edit = _array(rng, f"{root}/{name}")
    args, writes = _trained(rng)
    scenario = rng.choice(("class-il", "domain-il", "task-il"))
    target = rng.choice(((), (), (), ("--target", "regression"), ("--target", "multi-label")))
    return Case(
        "folder",
        ("run", "space.yaml", "--stream", root, "--scenario", scenario, *target, *args),
        ("space.yaml", root),
        (edit,),
        writes,
    )


def images(rng: random.Random) -> Case:
    name = f"images/{rng.choice(('one', 'two'))}/{rng.choice(('cat', 'dog'))}/{rng.randrange(12):02}.png"
    about, change = values.damage_bytes(rng)
    edit = (
        Edit(f"{name}: {about}", _file(name, change))
        if rng.random() < 0.6
        else _other_thing(rng, rng.choice((name, "images/three", "images/one/x", "images/one/cat/x.png")))
    )
    args, writes = _trained(rng)
    return Case("images", ("run", "space.yaml", "--stream", "images", *args), ("space.yaml", "images"), (edit,), writes)


def predicted(rng: random.Random) -> Case:
    """Rows for a model."""
    name = rng.choice(("rows.csv", "rows.parquet"))
    about, change = values.damage_bytes(rng)
    edit = Edit(f"{name}: {about}", _file(name, change)) if rng.random() < 0.6 else _other_thing(rng, name)
    return Case(
        "predict",
        ("predict", "table-bundle", name, "--to", "answers.csv"),
        ("table-bundle", name),
        (edit,),
        "answers.csv",
    )


def next_task(rng: random.Random) -> Case:
    edit = _array(rng, "next.npz") if rng.random() < 0.6 else _other_thing(rng, "next.npz")
    return Case("next task", ("continue", "bundle", "--task", "next.npz", "--to", "out"), BUNDLE_USES, (edit,), "out")


def _other_thing(rng: random.Random, name: str) -> Edit:
    """What is no file, or no such one, in the place of a file."""
    way = rng.choice(sorted(THINGS))
    return Edit(f"{name}: {way}", lambda folder: thing(folder / name, way))


THINGS: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a folder": lambda path: path.mkdir(),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to its folder": lambda path: path.symlink_to(path.parent),
    "a socket": lambda path: _socket(path),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "nothing": lambda path: None,
    "empty": lambda path: path.write_bytes(b""),
    "of zeros": lambda path: path.write_bytes(bytes(100_000)),
    "a hole of 2**30 bytes": lambda path: (path.touch(), os.truncate(path, 2**30)),
    "text": lambda path: path.write_text("hello\n" * 10),
}


def thing(path: Path, way: str) -> None:
    """Puts it there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    THINGS[way](path)


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)


def _array(rng: random.Random, name: str) -> Edit:
    return array(name, rng.choice(("x_train", "y_train", "x_test", "y_test")), rng.choice(sorted(ARRAYS)))


def array(name: str, key: str, way: str) -> Edit:
    """An array of a task's file, made another one."""

    def change(folder: Path) -> None:
        import numpy as np

        path = folder / name
        with np.load(path) as content:
            arrays = dict(content)
        with np.errstate(all="ignore"):
            made = ARRAYS[way](arrays[key])
        arrays.pop(key)
        arrays |= {} if made is None else {key: made}
        np.savez(path, **arrays)

    return Edit(f"{name}: {key} {way}", change)


def _arrays() -> dict[str, Callable[[Any], Any]]:
    import numpy as np

    whole = np.arange
    return {
        "near 2**62": lambda a: (2**62 + whole(a.size) % 2).reshape(a.shape),
        "10**9 apart": lambda a: (whole(a.size) % 2 * 10**9).reshape(a.shape),
        "uint64": lambda a: (whole(a.size) % 2).astype(np.uint64).reshape(a.shape) + np.uint64(2**64 - 5),
        "negative": lambda a: -abs(a) - 1,
        "NaN": lambda a: np.full(a.shape, np.nan),
        "infinite": lambda a: np.full(a.shape, np.inf),
        "1e-300 and 1e300": lambda a: np.where(whole(a.size).reshape(a.shape) % 2, 1e-300, 1e300),
        "1e38": lambda a: np.where(whole(a.size).reshape(a.shape) % 2, -3e38, 3e38),
        "subnormal": lambda a: np.full(a.shape, 5e-324) * whole(a.size).reshape(a.shape),
        "removed": lambda a: None,
        "empty": lambda a: a[:0],
        "one": lambda a: a[:1],
        "without features": lambda a: a.reshape(len(a), -1)[:, :0],
        "flat": lambda a: a.ravel(),
        "of 20 dimensions": lambda a: a.reshape(a.shape + (1,) * 20),
        "a number": lambda a: np.array(3.0),
        "objects": lambda a: a.astype(object),
        "words": lambda a: a.astype(str),
        "bytes": lambda a: a.astype("S"),
        "complex": lambda a: a.astype(complex),
        "true and false": lambda a: a > 1,
        "dates": lambda a: a.astype(np.int64).astype("M8[s]"),
        "records": lambda a: np.zeros(len(a), [("a", int), ("b", float)]),
        "float16": lambda a: a.astype(np.float16),
        "long double": lambda a: a.astype(np.longdouble),
        "other byte order": lambda a: a.astype(">f8"),
        "uint8": lambda a: (abs(a) % 256).astype(np.uint8),
        "all the same": lambda a: np.zeros_like(a),
        "half whole": lambda a: a + 0.5,
        "long": lambda a: np.repeat(a, 50, axis=0),
        "wide": lambda a: np.repeat(a[:, None] if a.ndim == 1 else a, 300, axis=1),
        "images": lambda a: np.zeros((len(a), 3, 4, 4), np.uint8),
    }


ARRAYS = _arrays()


# ------------------------------------------------------------------------------------------------ how files are changed


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _file(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda folder: _write(folder / name, change((folder / name).read_bytes()))


def _tree_edit(name: str, about: str, change: Callable[[Any], Any]) -> Edit:
    """Noted in a file beside, as all of them change one tree, which is written once."""
    return Edit(f"{Path(name).name}: {about}", lambda folder: _trees.setdefault(str(folder / name), []).append(change))


_trees: dict[str, list[Callable[[Any], Any]]] = {}


def _from_tree(
    name: str, content: Any, write: Callable[[Any], bytes], finish: Callable[[Any], Any] | None = None
) -> Callable[[Path], None]:
    def lay(folder: Path) -> None:
        tree = json.loads(json.dumps(content))
        for change in _trees.pop(str(folder / name), []):
            tree = change(tree)
        _write(folder / name, write(finish(tree) if finish else tree))

    return lay


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
    "bundle": (8, bundle),
    "table": (12, lambda rng, _: table(rng)),
    "folder": (12, lambda rng, _: folder(rng)),
    "images": (3, lambda rng, _: images(rng)),
    "predict": (2, lambda rng, _: predicted(rng)),
    "next task": (3, lambda rng, _: next_task(rng)),
}


def case_of(seed: int, number: int, templates: Path, kinds: Sequence[str]) -> Case:
    """The case of this number, the same whatever others there are."""
    rng = random.Random(f"{seed}.{number}")
    kind = rng.choices(kinds, [KINDS[kind][0] for kind in kinds])[0]
    return KINDS[kind][1](rng, templates)
