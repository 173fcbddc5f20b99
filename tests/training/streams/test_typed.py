"""What the columns of a table hold, as numbers, booleans, dates and words."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cfsweep.training.streams._typed import Misfit, booleans, dates, guessed, numbers, one_array, words

NAN = float("nan")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["1", " 2.5 ", "-1e-3", "+4", ".5", "6."], [1, 2.5, -0.001, 4, 0.5, 6]),
        (["", "NA", "n/a", "NaN", "null", "None"], [NAN] * 6),
        ([None, "0.1"], [NAN, 0.1]),
        ([1, None, 3], [1, NAN, 3]),
        ([1.5, float("nan"), None], [1.5, NAN, NAN]),
        ([True, False, None], [1, 0, NAN]),
        ([decimal.Decimal("1.25"), None], [1.25, NAN]),
        ([None, None], [NAN, NAN]),
    ],
)
def test_numbers(given: list[Any], expected: list[float]) -> None:
    assert np.array_equal(numbers(pa.array(given)), expected, equal_nan=True)


@pytest.mark.parametrize("seed", range(20))
def test_a_text_is_the_number_that_python_reads(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=200) * 10.0 ** rng.integers(-300, 300, 200)
    texts = [repr(value) if k % 2 else f"{value:.3e}" for k, value in enumerate(values.tolist())]
    assert numbers(pa.array(texts)).tolist() == [float(text) for text in texts]


@pytest.mark.parametrize("bad", ["1,5", "1_000", "0x10", "one", "1e", "--1", "inf"])
def test_a_text_that_is_no_number_is_told_by_its_row(bad: str) -> None:
    with pytest.raises(Misfit) as caught:
        numbers(pa.array(["1", "", bad, "x"]))
    assert (caught.value.row, caught.value.value) == (2, bad)


def test_a_number_beyond_float64_is_told_too() -> None:
    with pytest.raises(Misfit) as caught:
        numbers(pa.array(["1", "1e999"]))
    assert (caught.value.row, caught.value.value) == (1, "1e999")


def test_booleans() -> None:
    given = ["true", "No", "Y", "f", "1", "", None]
    assert np.array_equal(booleans(pa.array(given)), [1, 0, 1, 0, 1, NAN, NAN], equal_nan=True)
    assert np.array_equal(booleans(pa.array([1, 0, None])), [1, 0, NAN], equal_nan=True)
    for bad, row in ((["yes", "perhaps"], 1), ([0, 1, 2], 2)):
        with pytest.raises(Misfit) as caught:
            booleans(pa.array(bad))
        assert caught.value.row == row


def test_dates_are_days() -> None:
    texts = ["1970-01-02", "1970-01-01T12:00", "1970-01-01 00:00:00.5", "1970-01-01T01:00:00+01:00", "", "NA"]
    expected = [1, 0.5, 0.5 / 86400, 0, NAN, NAN]
    assert np.allclose(dates(pa.array(texts)), expected, equal_nan=True)
    day = datetime.date(1970, 1, 3)
    assert dates(pa.array([day, None])).tolist()[0] == 2
    for unit in ("s", "ms", "us", "ns"):
        assert dates(pa.array([datetime.datetime(1969, 12, 31, 12)], pa.timestamp(unit))).tolist() == [-0.5]
    zoned = pa.array([datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)], pa.timestamp("us", "Europe/Berlin"))
    assert dates(zoned).tolist() == [19723.0]
    for bad in (["31.1.2024"], ["2024-13-01"], [3]):
        with pytest.raises(Misfit):
            dates(pa.array(bad))


@pytest.mark.parametrize(
    "far",
    [
        pa.array([0, 2**50], pa.timestamp("s")),
        pa.array([0, -(2**60)], pa.timestamp("ms", "Europe/Berlin")),
        pa.array([0, 2**62], pa.timestamp("us")),
        pa.array([0, 2**30], pa.date32()),
        pa.array([0, 86_400_000 * 2**30], pa.date64()),
    ],
    ids=lambda column: str(column.type),
)
def test_a_date_of_no_year_that_is_known_is_told(far: pa.Array) -> None:
    for read in (dates, words):
        with pytest.raises(Misfit, match="dates of the years 1 to 9999 are needed") as caught:
            read(far)
        assert caught.value.row == 1


def test_words_are_written_shortest() -> None:
    assert words(pa.array(["a", "", None, " b", "NA"])).tolist() == ["a", None, None, " b", "NA"]
    assert words(pa.array([1, None, 12])).tolist() == ["1", None, "12"]
    assert words(pa.array([1.0, 2.5, None])).tolist() == ["1", "2.5", None], "as pandas has whole numbers with gaps"
    assert words(pa.array([True, None])).tolist() == ["True", None]
    assert words(pa.array([datetime.date(2024, 1, 31)])).tolist() == ["2024-01-31"]
    assert words(pa.array([datetime.datetime(2024, 1, 31)])).tolist() == ["2024-01-31"]
    with pytest.raises(Misfit):
        words(pa.array([[1, 2]]))


def test_what_a_column_seems_to_be() -> None:
    def seems(given: list[Any], untyped: bool = False) -> str | None:
        return guessed(pa.array(given), untyped)

    assert [seems([1]), seems([1.5]), seems([True]), seems([datetime.date(2024, 1, 1)])] == [
        "number",
        "number",
        "boolean",
        "date",
    ]
    assert seems(["10115"]) == "category", "Parquet says that it is a word"
    assert seems(["10115"], untyped=True) == "number"
    assert seems(["yes", "no", "true"], untyped=True) == "category"
    assert seems(["2024-01-01", "soon"], untyped=True) == "category"
    assert seems(["", "NA"], untyped=True) is None
    assert seems([None, None]) is None


def test_a_dictionary_and_large_texts_are_texts() -> None:
    for array in (
        pa.array(["a", None]).dictionary_encode(),
        pa.array(["a", None], pa.large_string()),
        pa.chunked_array([["a"], [None]], pa.string()),
    ):
        assert words(one_array(array)).tolist() == ["a", None]
