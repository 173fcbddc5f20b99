"""Your own encoder: `cfsweep run slda --stream examples.own_encoder:tickets --encoder examples.own_encoder:sentences`,
from the folder that holds `examples`.

The function returns an `nn.Module` or a callable. It gets batches of examples, (n, *input_shape), or lists of texts,
and gives their features, (n, d). It must give the same each time. A network with weights of its own, such as a sentence
encoder, is loaded within the function, from a file: cfsweep hashes the weights of a module, and of one that the
callable holds as an attribute.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

SUBJECTS = {
    "invoice": ["invoice", "charged twice", "refund", "credit card", "billing address"],
    "password": ["password", "cannot log in", "locked account", "reset link", "two-factor code"],
    "delivery": ["parcel", "not delivered", "courier", "tracking number", "wrong address"],
    "damage": ["broken", "scratched screen", "cracked case", "does not switch on", "return it"],
    "cancel": ["cancel", "end my plan", "unsubscribe", "stop the renewal", "close my account"],
    "praise": ["thank you", "great service", "very friendly", "works perfectly", "five stars"],
}
OPENINGS = ["Hello,", "Hi there,", "Dear team,", "Good morning,", ""]
MIDDLES = ["I am writing about", "there is this with", "please look at", "a word on", "once more about"]


def tickets(per_class: int = 60) -> list[dict[str, Any]]:
    """Letters to a help desk: three tasks of two subjects each, x a list of texts, y their subjects' numbers."""
    rng, names = np.random.default_rng(0), list(SUBJECTS)
    stream = []
    for first in range(0, len(names), 2):
        parts = {}
        for part, n in (("train", per_class), ("test", per_class // 2)):
            y = np.repeat([first, first + 1], n)
            parts[part] = ([_letter(rng, SUBJECTS[names[label]]) for label in y], y)
        stream.append({"name": " or ".join(names[first : first + 2]), **parts})
    return stream


def sentences(size: int = 128) -> Any:
    """What counts the trigrams of a text, each in one of `size` places: (n, size), every row of length 1."""

    def encode(texts: Sequence[str]) -> np.ndarray:
        counts = np.zeros((len(texts), size), np.float32)
        for row, text in enumerate(texts):
            for start in range(len(text) - 2):
                counts[row, zlib.crc32(text[start : start + 3].lower().encode()) % size] += 1
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1)

    return encode


def _letter(rng: np.random.Generator, words: list[str]) -> str:
    one, other = rng.choice(words, 2, replace=False)
    return f"{rng.choice(OPENINGS)} {rng.choice(MIDDLES)} {one} and {other}."
