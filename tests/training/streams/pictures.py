"""Real PNG and JPEG files in folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Pixels = np.ndarray[Any, Any]


def picture(seed: int, size: tuple[int, int] = (8, 8), mode: str = "RGB", bright: int = 0) -> Pixels:
    """Random pixels (height, width) or (height, width, 3) uint8, from `bright` up."""
    shape = (*size, 3) if mode == "RGB" else size
    return np.random.default_rng(seed).integers(bright, bright + 56, shape, np.uint8)


def save(path: Path, pixels: Pixels) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_classes(folder: Path, names: list[str], n: int = 12, seed: int = 0, **given: Any) -> Path:
    """A folder for each class, the k-th one brighter, with `n` images of the names 0.png, 1.png ..."""
    for k, name in enumerate(names):
        for number in range(n):
            pixels = picture(1000 * seed + 100 * k + number, bright=200 * k // len(names), **given)
            save(folder / name / f"{number}.png", pixels)
    return folder
