"""What cases begin with, made once: data of each kind, a finished study that was confirmed, and a bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from safetensors.torch import save_file

from tests.fuzz.guard import call

SPACE = """
description: small
scenario: class-il
network: {name: mlp, args: {hidden: [4]}}
ingredients: [ewc, replay]
fixed: {epochs: 1, batch_size: 16, replay_buffer: 10, ewc_examples: 5, lr: 0.01}
search:
  ewc_lambda: {low: 1.0, high: 1.0e+6, log: true, zero: true}
  replay_ratio: {low: 0.1, high: 0.5, zero: true}
"""
TABLE_ARGS = ("--arg", "target=label", "--arg", "task=month")
OF_TABLE = ("--scenario", "domain-il", "--trials", "1", "--workers", "0", "--out", "of-table")
BUNDLE_FILES = ("model.json", "weights.safetensors", "state.safetensors", "answers.safetensors", "MODEL_CARD.md")


def build(root: Path) -> None:
    """The data, in a new folder `root`."""
    root.mkdir(parents=True)
    _data(root)
    (root / "space.yaml").write_text(SPACE)


# What the commands make, in this order, and what is there then.
_MADE: dict[str, tuple[tuple[str, ...], ...]] = {
    "study": (
        ("run", "space.yaml", "--stream", "tasks", "--trials", "3", "--workers", "0", "--out", "study"),
        ("select", "study"),
        ("confirm", "study", "--seeds", "2", "--workers", "0"),
    ),
    "bundle": (("export", "study", "--to", "bundle"),),
    "table-bundle": (
        ("run", "space.yaml", "--stream", "table.csv", *TABLE_ARGS, *OF_TABLE),
        ("select", "of-table"),
        ("confirm", "of-table", "--seeds", "1", "--workers", "0"),
        ("export", "of-table", "--to", "table-bundle"),
    ),
}


def needed(root: Path, name: str) -> Path:
    """The file or folder of this name among the templates, made the first time.

    Raises:
        RuntimeError: a command failed that should not.
    """
    made = Path(name).parts[0]
    if made == "bundle":
        needed(root, "study")
    for args in _MADE.get(made, ()) if not (root / made).exists() else ():
        ended = call(args, root, cpu_s=120, wall_s=300)
        if ended.code:
            raise RuntimeError(f"cfsweep {' '.join(args)}: {ended}")
    return root / name


def _data(root: Path) -> None:
    rng = np.random.default_rng(0)
    (root / "tasks").mkdir()
    (root / "parquet").mkdir()
    frames = []
    for task in range(3):
        y, y_test = (np.repeat([2 * task, 2 * task + 1], n) for n in (15, 5))
        x, x_test = (rng.normal(size=(len(of), 3)) + of[:, None] for of in (y, y_test))
        arrays = {"x_train": x, "y_train": y, "x_test": x_test, "y_test": y_test}
        np.savez(root / ("next.npz" if task == 2 else f"tasks/t{task}.npz"), **arrays)  # type: ignore[arg-type]
        columns = pd.DataFrame(x, columns=["a", "b", "c"])
        if task < 2:
            columns.assign(y=y, split=["train", "train", "test"] * 10).to_parquet(root / f"parquet/t{task}.parquet")
        frames.append(
            columns.assign(
                kind=rng.choice(["red", "blue", ""], 30),
                day=pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 99, 30), "D"),
                label=y % 2,
                month=f"2024-0{task + 1}",
            )
        )
    own = {"body.1.weight": (4, 3), "body.1.bias": (4,), "head.weight": (4, 4), "head.bias": (4,)}
    tensors = {name: torch.from_numpy(rng.normal(size=shape)).float() for name, shape in own.items()}
    save_file(tensors, root / "w.safetensors")
    torch.save(tensors, root / "w.pt")
    table = pd.concat(frames)
    table.to_csv(root / "table.csv", index=False)
    table.to_parquet(root / "table.parquet", index=False)
    table.head(5).to_csv(root / "rows.csv", index=False)
    table.head(5).to_parquet(root / "rows.parquet", index=False)
    for task in ("one", "two"):
        for label in ("cat", "dog"):
            folder = root / "images" / task / label
            folder.mkdir(parents=True)
            for number in range(12):
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{number:02}.png")
