"""Cases of a user's own data."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fuzz import values
from tests.fuzz.cases import Case, Edit, file_edit, other_thing
from tests.fuzz.commands import text, trained_or_dry
from tests.fuzz.templates import TABLE_ARGS


def table(rng: random.Random) -> Case:
    file = rng.choice(("table.csv", "table.csv", "table.parquet"))
    about, change = _cells(rng) if rng.random() < 0.6 and file == "table.csv" else values.damage_bytes(rng)
    edits = [Edit(f"{file}: {about}", file_edit(file, change))]
    if file == "table.parquet" and rng.random() < 0.7:
        edits = [Edit("a column of another type", any_column(rng))]
    for _ in range(rng.choice((0, 0, 1))):
        name = rng.choice(("target", "task", "date", "split", "types", "drop", "x", "columns", "tasks", "text"))
        given = f"{name}={rng.choice(('a', 'label', 'month', 'kind', 'day', text(rng)))}"
        edits.append(Edit(f"--arg {given[:80]!r}", args=("--arg", given)))
    args, writes = trained_or_dry(rng)
    scenario = rng.choice(("domain-il", "domain-il", "class-il", "task-il"))
    command = ("run", "space.yaml", "--stream", file, *TABLE_ARGS, "--scenario", scenario, *args)
    return Case("table", command, ("space.yaml", file), tuple(edits), writes)


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


def any_column(rng: random.Random) -> Callable[[Path], None]:
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
        edit = Edit(f"{root}/{name}: {about}", file_edit(f"{root}/{name}", change))
    elif pick < 0.5:
        edit = other_thing(rng, f"{root}/{rng.choice((name, 'new' + name, 'x'))}")
    elif of_parquet:
        edit = Edit("a column of another type", any_column(rng))
    else:
        edit = any_array(rng, f"{root}/{name}")
    args, writes = trained_or_dry(rng)
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
        Edit(f"{name}: {about}", file_edit(name, change))
        if rng.random() < 0.6
        else other_thing(rng, rng.choice((name, "images/three", "images/one/x", "images/one/cat/x.png")))
    )
    args, writes = trained_or_dry(rng)
    return Case("images", ("run", "space.yaml", "--stream", "images", *args), ("space.yaml", "images"), (edit,), writes)


def any_array(rng: random.Random, name: str) -> Edit:
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
