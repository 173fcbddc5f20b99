"""What is fitted of a table, against values by hand and the slow way; and that it comes back from JSON as it was."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from cfsweep.errors import InputError
from cfsweep.training.streams import Preprocessing, TableSettings
from cfsweep.training.streams._preprocessing import Moments, fitted, moments
from cfsweep.training.streams._table_files import Raw

SETTINGS = TableSettings(target="y", task="t")


def raw(**columns: object) -> Raw:
    n = len(next(iter(columns.values())))  # type: ignore[arg-type]
    return Raw(pa.table({**columns, "y": ["a"] * n, "t": ["1"] * n}), "table")


def state_of(table: Raw, *rows: list[int], settings: TableSettings = SETTINGS) -> Preprocessing:
    """`rows` are the training rows of each task."""
    return fitted(table, settings, [np.array(own) for own in rows], word_labels=True)[0]


def test_a_row_by_hand() -> None:
    table = raw(age=[1.0, 3.0, None, 9.0], plan=["b", None, "a", "c"], member=[True, False, True, None])
    state = state_of(table, [0, 1, 2])
    assert state.features == ("age", "age=(missing)", "plan=a", "plan=b", "plan=(missing)", "plan=(other)", "member")
    x = state.examples(table, state.values_of(table), np.arange(4), 0)
    deviation = np.sqrt(2) / 3  # of 1, 0, 1: mean 2/3, variance 2/9
    assert np.allclose(
        x,
        [
            [-1, 0, 0, 1, 0, 0, (1 / 3) / deviation],  # ages 1 and 3: mean 2, deviation 1
            [1, 0, 0, 0, 1, 0, (-2 / 3) / deviation],
            [0, 1, 1, 0, 0, 0, (1 / 3) / deviation],
            [7, 0, 0, 0, 0, 1, 0],  # a word that came later, and a gap where there was none: the mean
        ],
    )


def test_of_the_past_moments_by_hand() -> None:
    table = raw(age=[1.0, 3.0, 5.0, 7.0])
    settings = SETTINGS.model_copy(update={"preprocessing": "past"})
    state, values = state_of(table, [0, 1], [2, 3], settings=settings), {"age": table.values("age", "number", "")}
    assert state_of(table, [0, 1], settings=settings).moved_on(table, [np.array([2, 3])]) == state
    assert state.fitted == ((Moments(n=2, mean=2.0, m2=2.0),), (Moments(n=4, mean=4.0, m2=20.0),))
    rows = np.array([3])
    assert state.examples(table, values, rows, 0).tolist() == [[5.0]]
    assert state.examples(table, values, rows, 1)[0, 0] == pytest.approx(3 / np.sqrt(5))
    assert np.array_equal(state.examples(table, values, rows, None), state.examples(table, values, rows, 1))


@pytest.mark.parametrize("seed", range(30))
def test_moments_that_are_put_together_are_those_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    offset, scale = 10.0 ** rng.integers(-3, 9), 10.0 ** rng.integers(-3, 3)
    parts = [offset + scale * rng.normal(size=rng.integers(0, 50)) for _ in range(5)]
    parts = [np.where(rng.random(len(part)) < 0.2, np.nan, part) for part in parts]
    together = Moments()
    for part in parts:
        together = together.and_(moments(part))
    every = np.concatenate(parts)
    every = every[~np.isnan(every)]
    mean = sum(every.tolist()) / max(len(every), 1)
    assert together.n == len(every)
    assert together.mean == pytest.approx(mean, rel=1e-12)
    slow = np.sqrt(sum((value - mean) ** 2 for value in every.tolist()) / len(every))
    assert together.scale == pytest.approx(slow, rel=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e9 + 0.1, -3e-300, 7e12])
def test_what_does_not_vary_is_not_scaled_up(value: float) -> None:
    assert moments(np.full(1000, value)).scale == 1.0
    assert moments(np.full(7, np.nan)) == Moments()
    large = moments(np.full(1000, 1e150))
    assert abs(1e150 - large.mean) / large.scale < 0.01, "nor is rounding"
    assert Moments().scale == 1.0


@pytest.mark.parametrize("seed", range(10))
def test_it_comes_back_from_json_to_the_last_bit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = raw(
        a=rng.normal(size=40) * 10.0 ** rng.integers(-30, 30, 40),
        b=rng.choice(["x", 'a "word"', "line\nbreak", "ß"], 40).tolist(),
        c=pa.array(rng.random(40), mask=rng.random(40) < 0.3),
    )
    state = state_of(table, list(range(30)))
    again = Preprocessing.model_validate_json(state.model_dump_json())
    assert again == state
    values = state.values_of(table)
    one, other = (s.examples(table, values, np.arange(40), None) for s in (state, again))
    assert one.tobytes() == other.tobytes()


def test_a_number_that_float32_cannot_hold_is_named() -> None:
    table = raw(a=[1.0, 2.0, 1e149], b=[1.0, 2.0, 1e300])
    state = state_of(raw(a=[1.0, 2.0, 3.0], b=[1.0, 2.0, 3.0]), [0, 1])
    with pytest.raises(
        InputError, match=r"table, column `b`, row 3: numbers up to 1e\+150 are needed, but got `1e\+300`"
    ):
        state.values_of(table)
    table = raw(a=[1.0, 2.0, 1e149], b=[1.0, 2.0, 3.0])
    with pytest.raises(InputError, match="table, column `a`, row 3: numbers must be finite in float32") as caught:
        state.examples(table, state.values_of(table), np.arange(3), None)
    assert "1e+149" in str(caught.value)


def test_nanoseconds_and_large_offsets_keep_their_differences() -> None:
    table = raw(a=[1.7e18, 1.7e18 + 1e6, 1.7e18 + 2e6], b=[1e9, 1e9 + 10, 1e9 + 20])
    state = state_of(table, [0, 1, 2])
    x = state.examples(table, state.values_of(table), np.arange(3), None)
    assert np.allclose(x, np.sqrt(1.5) * np.array([[-1, -1], [0, 0], [1, 1]]), atol=1e-3)
