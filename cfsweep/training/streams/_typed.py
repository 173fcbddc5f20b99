"""Columns of a table as numbers or words: what each kind may hold, and which kind a column seems to be of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cfsweep.training.streams._table_settings import Kind

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]
Words = NDArray[np.object_]  # of str, None where one is missing

DAY_US = 86_400_000_000
DAYS = -719_162, 2_932_896  # since 1970, from the year 1 to 9999, which Python's dates have
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
MISSING = ("", "na", "n/a", "nan", "null", "none")  # in any case; among words the empty one alone is missing
BOOLEANS: Mapping[str, float] = {"true": 1.0, "yes": 1.0, "t": 1.0, "y": 1.0, "1": 1.0} | {
    "false": 0.0,
    "no": 0.0,
    "f": 0.0,
    "n": 0.0,
    "0": 0.0,
}
GUESSED_BOOLEANS = ({"true", "false"}, {"yes", "no"})
RULES: Mapping[Kind, str] = {
    "number": "numbers are needed",
    "boolean": "true or false is needed",
    "date": "dates as 2024-01-31 (ISO 8601) are needed",
    "category": "words or numbers are needed",
    "text": "texts are needed",
}


class Misfit(Exception):
    """A value that its column cannot hold: the place of its `row` (from 0), the `value`, and the `rule`."""

    def __init__(self, row: int, value: object, rule: str) -> None:
        super().__init__(f"{rule}, but got {value!r}")
        self.row, self.value, self.rule = row, value, rule


def numbers(column: pa.Array) -> Floats:
    """(n,) float64, NaN where a value is missing. Texts are read as numbers with a point, such as -1.5e3.

    Raises:
        Misfit: a value is none, or is infinite.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if _is_text(kind):
        texts = _present(column)
        _require(column, pc.match_substring_regex(texts, NUMBER), "number")
        texts = pc.replace_substring_regex(texts, r"^\+", "")  # which Arrow does not read
        found = _floats(pc.cast(texts, pa.float64()))
    elif pa.types.is_boolean(kind) or pa.types.is_integer(kind) or _is_real(kind):
        found = _floats(_widened(column))
    elif pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    else:
        raise _misfit(column, 0, "number")
    if np.isinf(found).any():
        raise _misfit(column, int(np.flatnonzero(np.isinf(found))[0]), "number")
    return found


def booleans(column: pa.Array) -> Floats:
    """(n,) 1 where it is true, 0 where it is false, NaN where it is missing. Raises as `numbers`."""
    import pyarrow as pa

    if not _is_text(column.type):
        found = numbers(column)
        odd = ~np.isnan(found) & (found != 0) & (found != 1)
        if odd.any():
            raise _misfit(column, int(np.flatnonzero(odd)[0]), "boolean")
        return found
    texts = _present(column)
    codes = texts.dictionary_encode()
    known = [BOOLEANS.get(text.lower(), np.nan) for text in codes.dictionary.to_pylist()]
    found = _taken(np.array(known, np.float64), codes.indices)
    _require(column, pa.array(np.isfinite(found) | ~_valid(texts)), "boolean")
    return found


def dates(column: pa.Array) -> Floats:
    """(n,) days since 1970-01-01 in UTC, with fractions, NaN where a date is missing. Raises as `numbers`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if _is_text(kind):
        column, given = _parsed_dates(_present(column)), column
        _require(given, pc.or_(column.is_valid(), pc.invert(_present(given).is_valid())), "date")
    elif not (pa.types.is_date(kind) or pa.types.is_timestamp(kind)):
        raise _misfit(column, 0, "date")
    _require_years(column)
    zone = getattr(column.type, "tz", None)
    micros = column.cast(pa.timestamp("us", zone), safe=False).cast(pa.int64())
    return _floats(micros) / DAY_US


def words(column: pa.Array) -> Words:
    """(n,) the words, None where one is missing; numbers as they are written shortest (3, not 3.0), dates by ISO 8601.

    Raises:
        Misfit: a value is a list, say.
    """
    import pyarrow as pa

    if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
        raise _misfit(column, 0, "category")
    _require_years(column)
    codes = column.dictionary_encode() if not pa.types.is_dictionary(column.type) else column
    if not len(codes.dictionary):
        return np.full(len(column), None, object)
    known = np.array([_word(value) for value in codes.dictionary.to_pylist()], object)
    found = np.full(len(column), None, object)
    valid = _valid(codes.indices)
    found[valid] = known[np.asarray(codes.indices.drop_null())]
    return found


def _word(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value)  # as pandas writes it into a CSV file
    if isinstance(value, float):
        return None if np.isnan(value) else str(int(value)) if value.is_integer() else repr(value)
    if hasattr(value, "isoformat"):
        text = str(value.isoformat())
        return text.removesuffix("T00:00:00")
    return str(value) or None


def guessed(column: pa.Array, untyped: bool) -> Kind | None:
    """What kind a column seems to be of; None where no value is there. Texts that are `untyped`, as all are in CSV, are
    numbers if all of them are, else booleans (true and false, yes and no), else dates; all others are categories.

    >>> import pyarrow as pa
    >>> lists = [["1", "", "2.5"], ["yes", "no"], ["2024-01-31"], ["1", "a"], [None]]
    >>> [guessed(pa.array(values), untyped=True) for values in lists]
    ['number', 'boolean', 'date', 'category', None]
    >>> guessed(pa.array(["1"]), untyped=False)
    'category'
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    types, kind = pa.types, column.type
    if types.is_null(kind) or column.null_count == len(column):
        return None
    if types.is_boolean(kind):
        return "boolean"
    if types.is_date(kind) or types.is_timestamp(kind):
        return "date"
    if not _is_text(kind):
        return "number"
    texts = _present(column).drop_null()
    if not len(texts):
        return None
    if not untyped:
        return "category"
    if pc.all(pc.match_substring_regex(texts, NUMBER)).as_py():
        return "number"
    if any({text.lower() for text in pc.unique(texts).to_pylist()} <= pair for pair in GUESSED_BOOLEANS):
        return "boolean"
    return "date" if not _parsed_dates(texts).null_count else "category"


READ: Mapping[Kind, Callable[[Any], Floats]] = {"number": numbers, "boolean": booleans, "date": dates}


# ------------------------------------------------------------------------------------------------ Arrow


def one_array(column: Any) -> pa.Array:
    """A column of a table in one piece, its dictionary resolved where it holds no words."""
    import pyarrow as pa

    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    array = pa.concat_arrays(chunks) if chunks else pa.array([], column.type)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    for wide, plain in ((pa.types.is_large_string, pa.string()), (pa.types.is_string_view, pa.string())):
        array = array.cast(plain) if wide(array.type) else array
    return array


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind))


def _is_real(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _widened(column: pa.Array) -> pa.Array:
    import pyarrow as pa

    column = column.cast(pa.int8()) if pa.types.is_boolean(column.type) else column
    return column.cast(pa.float64(), safe=False)


def _present(texts: pa.Array) -> pa.Array:
    """Texts without the spaces around them, null where they say that nothing is there."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = pc.utf8_trim_whitespace(texts)
    missing = pc.is_in(pc.utf8_lower(texts), value_set=pa.array(MISSING))
    return pc.if_else(missing, pa.scalar(None, pa.string()), texts)


def _parsed_dates(texts: pa.Array) -> pa.Array:
    """Timestamps in UTC, null where a text is no date."""
    import pandas as pd
    import pyarrow as pa

    codes = texts.dictionary_encode()
    known = pd.Series(codes.dictionary.to_pylist(), dtype=object)
    known = pd.to_datetime(known, format="ISO8601", utc=True, errors="coerce")
    micros = pa.array(known.dt.tz_localize(None), pa.timestamp("us"), from_pandas=True)
    return micros.take(codes.indices)


def _floats(column: pa.Array) -> Floats:
    found: Floats = np.array(column.to_numpy(zero_copy_only=False), np.float64)
    if column.null_count:
        found[~_valid(column)] = np.nan
    return found


def _taken(known: Floats, indices: pa.Array) -> Floats:
    found = np.full(len(indices), np.nan)
    found[_valid(indices)] = known[np.asarray(indices.drop_null())]
    return found


def _valid(column: pa.Array) -> NDArray[np.bool_]:
    return np.array(column.is_valid(), bool)


def _require(column: pa.Array, fits: pa.Array, kind: Kind) -> None:
    """Raise for the first value that does not fit; a null neither does nor does not."""
    import pyarrow.compute as pc

    odd = np.flatnonzero(~np.array(pc.fill_null(fits, True), bool))
    if len(odd):
        raise _misfit(column, int(odd[0]), kind)


def _require_years(column: pa.Array) -> None:
    """Raise for the first date that has no year between 1 and 9999."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_timestamp(kind):
        a_day = {"s": 86_400, "ms": 86_400_000, "us": DAY_US, "ns": 1_000 * DAY_US}[kind.unit]
    elif pa.types.is_date(kind):
        a_day = 86_400_000 if kind == pa.date64() else 1
        column = column if kind == pa.date64() else column.cast(pa.int32())
    else:
        return
    days = _floats(column.cast(pa.int64())) / a_day
    odd = np.flatnonzero((days < DAYS[0]) | (days >= DAYS[1] + 1))
    if len(odd):
        raise Misfit(
            int(odd[0]), f"{days[odd[0]]:.0f} days after 1970-01-01", "dates of the years 1 to 9999 are needed"
        )


def _misfit(column: pa.Array, row: int, kind: Kind) -> Misfit:
    return Misfit(row, column[row].as_py(), RULES[kind])
