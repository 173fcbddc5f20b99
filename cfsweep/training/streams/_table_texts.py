"""A table's column of texts, which an encoder makes features of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cfsweep.errors import InputError, few
from cfsweep.training.streams._base import Indices
from cfsweep.training.streams._table_files import Raw
from cfsweep.training.streams._table_settings import Kind
from cfsweep.training.streams._typed import Words

_SPACES = 2  # in a text on average: a street, a name or a code has fewer


def seem_texts(words: Words) -> bool:
    """Whether words are texts by their looks: three words or more on average, and most of them no other row's. None
    stands for a missing one.

    >>> import numpy as np
    >>> seem_texts(np.array(["the lid does not fit", "a good pan, I say", None], object))
    True
    >>> seem_texts(np.array(["New York", "Rome"], object)), seem_texts(np.array(["less than 5 years"] * 9, object))
    (False, False)
    """
    there = [word for word in words.tolist() if word is not None]
    spaces = sum(len(word.split()) - 1 for word in there)
    return bool(there) and spaces >= _SPACES * len(there) and 2 * len(set(there)) > len(there)


def text_column(kinds: Mapping[str, Kind], dropped: Sequence[str], encoded: bool, where: str) -> str | None:
    """The one of a table's features, by name and kind, that an encoder sees, which is of texts; None where none is.

    Raises:
        InputError: there is no encoder for it, or there are other features beside it.
    """
    texts = [name for name, kind in kinds.items() if kind == "text"]
    if not texts:
        return None
    if not encoded:
        raise InputError(f"{where}, column `{texts[0]}`: texts need an encoder. Name one, `--encoder module:function`.")
    if len(texts) > 1:
        named = few(f"`{name}`" for name in texts)
        raise InputError(
            f"{where}: an encoder sees one column of texts, but {named} are some. Join them, or drop all but one, "
            "`--arg drop=[COLUMN]`."
        )
    others = [name for name in kinds if name != texts[0]]
    if others:
        listed = ", ".join([*dropped, *others])
        raise InputError(
            f"{where}: an encoder sees the texts of column `{texts[0]}` and nothing else, but there are other "
            f"features: {few(f'`{name}`' for name in others)}. Drop them, `--arg 'drop=[{listed}]'`."
        )
    return texts[0]


def texts_of(table: Raw, name: str, rows: Indices) -> list[str]:
    """The texts of these rows.

    Raises:
        InputError: a row has none.
    """
    found: list[str | None] = table.words(name)[rows].tolist()
    for row, text in zip(rows.tolist(), found, strict=True):
        if text is None:
            raise table.error(name, row, "each row must have a text, but this one has none", "Fill or drop it")
    return [text for text in found if text is not None]
