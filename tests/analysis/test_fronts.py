"""The front against a slow obvious twin, and its uncertainty against hand-computed cases."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import analysis
from analysis.fronts import _hidden, hypervolume, maximised, ranks, reference_point
from cfsweep.errors import InputError
from cfsweep.metrics import ALL_METRICS, METRICS
from tests.analysis.folder import Folder, matrix_for


def slow_ranks(points: np.ndarray, maximise: list[bool]) -> list[int]:
    """Peels fronts off, comparing every pair: O(n^3) and obvious."""
    left = {i: [v if up else -v for v, up in zip(p, maximise, strict=True)] for i, p in enumerate(points)}
    result, rank = [0] * len(points), 0
    while left:
        top = [i for i, p in left.items() if not any(dominates(q, p) for q in left.values())]
        for i in top:
            result[i] = rank
            del left[i]
        rank += 1
    return result


def dominates(q: list[float], p: list[float]) -> bool:
    return all(a >= b for a, b in zip(q, p, strict=True)) and any(a > b for a, b in zip(q, p, strict=True))


def slow_hypervolume(points: np.ndarray, cells: int) -> float:
    """Counts the unit cells of a grid below any of the whole-numbered points (n, m)."""
    grid = np.stack(np.meshgrid(*[np.arange(cells)] * points.shape[1], indexing="ij"), axis=-1)
    covered = [(grid < p).all(axis=-1) for p in points]
    return float(np.logical_or.reduce(covered).sum())


@pytest.mark.parametrize("maximise", [[True, True], [True, True, False], [False, True]])
def test_ranks_agree_with_the_slow_twin_with_ties_and_duplicates(maximise: list[bool]) -> None:
    draw = np.random.default_rng(1)
    for _ in range(60):
        n = int(draw.integers(1, 25))
        points = draw.integers(0, 5, size=(n, len(maximise))).astype(float)
        assert ranks(points, maximise).tolist() == slow_ranks(points, maximise)


@pytest.mark.parametrize("m", [2, 3])
def test_hypervolume_agrees_with_counting_cells(m: int) -> None:
    draw = np.random.default_rng(2)
    for _ in range(20):
        points = draw.integers(0, 7, size=(int(draw.integers(1, 8)), m)).astype(float)
        assert hypervolume(points, [True] * m, [0.0] * m) == pytest.approx(slow_hypervolume(points, 7))


def test_the_known_front(known: Path) -> None:
    runs = analysis.load(known)
    found = analysis.front(analysis.trials(runs), runs=runs)
    assert found.members["trial"].tolist() == [1, 2, 4], "equal trials are on the front together"
    assert found.table.set_index("trial")["rank"].to_dict() == {2: 0, 4: 0, 1: 0, 3: 1, 0: 2}
    # Two boxes: 0.5 x 0.95 and, beyond it, 0.3 x 0.9.
    assert found.hypervolume == pytest.approx(0.5 * 0.95 + 0.3 * 0.9)
    assert found.references["trial"].tolist() == [-2, -1]
    assert set(found.table["trial"]) == {0, 1, 2, 3, 4}
    assert found.dropped == 0
    assert "Not ranked: 1 stopped, 1 failed." in found.notes


def test_seeds_that_shift_all_trials_alike_leave_the_front_certain(known: Path) -> None:
    runs = analysis.load(known)
    found = analysis.front(analysis.trials(runs), runs=runs)
    assert found.table.set_index("trial")["front_share"].to_dict() == {2: 1, 4: 1, 1: 1, 3: 0, 0: 0}
    assert found.corrected_hypervolume is not None
    assert found.corrected_hypervolume.value == pytest.approx(found.hypervolume, abs=0.001)
    # Seeds move both objectives of all trials by 0.01: Student's interval of their level is ± 4.303 · 0.01 / √3. The
    # volume 0.5 · 0.95 + 0.3 · 0.9 moves by 0.5 + 0.95 for the first box, by 0.3 for the second: 1.75 times as much.
    low, high = found.corrected_hypervolume.interval
    half = 4.303 * 0.01 / 3**0.5 * 1.75
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)
    assert low < found.hypervolume < high


def test_trials_that_noise_hides_share_the_front(tmp_path: Path) -> None:
    """Two that win under one seed each, and one that never does."""
    folder = Folder(tmp_path)
    for trial, values in enumerate([(0.60, 0.66, 0.63), (0.66, 0.60, 0.63), (0.20, 0.21, 0.19)]):
        for seed, stability in enumerate(values):
            folder.run(trial, seed, matrix_for(stability, 0.9))
    runs = analysis.load(folder.write())
    found = analysis.front(analysis.trials(runs), runs=runs)
    chances = found.table.set_index("trial")["front_share"]
    assert chances[0] == pytest.approx(0.5, abs=0.05)
    assert chances[1] == pytest.approx(0.5, abs=0.05)
    assert chances[2] < 0.01


@pytest.mark.parametrize("n_seeds", [1, 2])
def test_fewer_than_three_seeds_say_so(tmp_path: Path, n_seeds: int) -> None:
    folder = Folder(tmp_path)
    for seed in range(n_seeds):
        folder.run(0, seed, matrix_for(0.5, 0.6))
    runs = analysis.load(folder.write())
    found = analysis.front(analysis.trials(runs), runs=runs)
    assert found.corrected_hypervolume is None
    assert found.table["front_share"].isna().all()
    assert found.table["corrected_average_score"].isna().all()
    said = f"{n_seeds} seed(s): no interval, front share or corrected mean. "
    said += "Go on with `cfsweep resume DIR --seeds 3`."
    assert said in found.notes


def test_three_objectives_minimise_the_cost(tmp_path: Path) -> None:
    folder = Folder(tmp_path, objective={"name": "pareto", "third": "train_s"})
    for trial, (stability, seconds) in enumerate([(0.8, 10.0), (0.8, 5.0), (0.5, 1.0), (0.4, 2.0)]):
        folder.run(trial, 0, matrix_for(stability, 0.9), train_s=seconds)
    found = analysis.front(analysis.trials(analysis.load(folder.write())), ("stability", "plasticity", "train_s"))
    assert sorted(found.members["trial"]) == [1, 2]
    assert found.reference_point == (0.0, 0.0, 1.1)
    assert found.normalisation.startswith("train_s / 10 ")
    # Costs 0.5 and 0.1 of the largest: 0.8 x 0.9 from 0.5 to 1.1, and 0.5 x 0.9 from 0.1 to 0.5.
    assert found.hypervolume == pytest.approx(0.8 * 0.9 * 0.6 + 0.5 * 0.9 * 0.4)


def test_equal_or_absent_costs_do_not_empty_the_volume(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.run(0, 0, matrix_for(0.5, 0.8), stored_bytes=0)
    table = analysis.trials(analysis.load(folder.write()))
    for cost, room in (("stored_bytes", 1.1), ("n_parameters", 0.1)):
        found = analysis.front(table, ("stability", "plasticity", cost))
        assert found.hypervolume == pytest.approx(0.5 * 0.8 * room)


def test_a_missing_value_drops_its_trial_and_is_counted(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.run(0, 0, matrix_for(0.5, 0.6))
    folder.run(1, 0, matrix_for(0.9, 0.9), val_stability=None)
    folder.run(2, 0, matrix_for(0.9, 0.9), val_plasticity=float("nan"))
    found = analysis.front(analysis.trials(analysis.load(folder.write())))
    assert found.members["trial"].tolist() == [0]
    assert found.dropped == 2
    assert any("2 finished trial(s) left out" in note for note in found.notes)


def test_one_task_leaves_no_front_and_says_why(tmp_path: Path) -> None:
    folder = Folder(tmp_path, n_tasks=1)
    folder.run(0, 0, [[0.9]])
    found = analysis.front(analysis.trials(analysis.load(folder.write())))
    assert (len(found.table), found.hypervolume, found.dropped) == (0, None, 1)
    assert any("every one of them" in note for note in found.notes)


def test_no_trials_no_front(tmp_path: Path) -> None:
    found = analysis.front(analysis.trials(analysis.load(Folder(tmp_path).write())))
    assert len(found.members) == 0
    assert "No trial has finished yet" in found.notes[0]


def test_unknown_objectives_are_refused(known: Path) -> None:
    with pytest.raises(InputError, match="unknown metric `stabilty`"):
        analysis.front(analysis.trials(analysis.load(known)), ("stabilty", "plasticity"))


def test_every_metric_can_be_an_objective(known: Path) -> None:
    assert all(maximised([metric.name for metric in METRICS][:6]))
    assert not any(maximised([m.name for m in ALL_METRICS if m.name.startswith(("forgetting", "intransigence"))]))
    assert maximised(["train_s", "stored_bytes", "n_parameters"]) == [False] * 3


def test_the_front_as_parquet(known: Path, tmp_path: Path) -> None:
    runs = analysis.load(known)
    found = analysis.front(analysis.trials(runs), runs=runs)
    content = pq.read_table(analysis.write_front(found, tmp_path / "deep" / "front.parquet"))
    metadata = content.schema.metadata
    assert metadata[b"cfsweep_schema_version"] == b"2"
    assert json.loads(metadata[b"cfsweep_front"])["hypervolume"] == found.hypervolume
    rows = content.to_pandas().set_index("trial")
    assert rows["on_front"].to_dict() == {2: True, 4: True, 1: True, 3: False, 0: False, -2: None, -1: None}
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["front.parquet"]


def test_the_dtypes_stay_nullable(known: Path) -> None:
    table = analysis.front(analysis.trials(analysis.load(known))).table
    assert table["front_share"].dtype == pd.Float64Dtype()
    assert table["rank"].dtype == pd.Int64Dtype()


# ------------------------------------------------------------------------------------------------ reference points


def test_the_reference_point_is_the_worst_value_of_each_metric() -> None:
    for metric in ALL_METRICS:
        low, high = metric.bounds
        assert reference_point([metric.name]) == ((low,) if metric.higher_is_better else (high,))
        assert np.isfinite(reference_point([metric.name])).all()


@pytest.mark.parametrize(
    "objectives",
    [
        ("backward_transfer", "plasticity"),
        ("backward_transfer", "intransigence"),
        ("forgetting_max_before_last", "plasticity"),
        ("stability", "backward_transfer", "train_s"),
    ],
)
def test_metrics_below_zero_have_a_volume(tmp_path: Path, objectives: tuple[str, ...]) -> None:
    """Against the sum over a fine grid of what some trial is better than."""
    folder = Folder(tmp_path)
    for trial, (stable, plastic) in enumerate([(0.5, 0.9), (0.6, 0.85), (0.8, 0.8)]):
        folder.run(trial, 0, matrix_for(stable, plastic))
    folder.run(-2, 0, matrix_for(0.9, 0.9))
    runs = analysis.load(folder.write())
    found = analysis.front(analysis.trials(runs), objectives)
    up = np.array([name not in ("train_s", "intransigence") and "forgetting" not in name for name in objectives])
    columns = [name if name == "train_s" else f"val_{name}" for name in objectives]
    points = found.table[columns].astype(float).to_numpy()
    points /= np.where(np.array(objectives) == "train_s", points.max(0), 1.0)
    sides = np.abs(points - np.array(found.reference_point))  # of the boxes that all begin at the reference point
    grid = np.random.default_rng(0).random((200_000, len(objectives))) * sides.max(0)
    inside = (grid[:, None, :] < sides[None]).all(-1).any(1)
    assert found.hypervolume == pytest.approx(inside.mean() * sides.max(0).prod(), rel=0.02)
    assert found.hypervolume > 0.1
    assert ((points > found.reference_point) == up).all()


def test_equal_trials_on_the_front_are_counted_as_one_point(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for trial in range(8):
        folder.run(trial, 0, matrix_for(0.5, 0.9))
    found = analysis.front(analysis.trials(analysis.load(folder.write())))
    assert len(found.members) == 8
    assert "The 8 trials on the front are one point: some have equal values in all objectives." in found.notes
    folder.run(8, 0, matrix_for(0.6, 0.8))
    found = analysis.front(analysis.trials(analysis.load(folder.write())))
    assert any(note.startswith("The 9 trials on the front are 2 different points") for note in found.notes)


def test_a_configuration_counts_once_however_many_trials_came_to_it(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for trial, first in ((0, None), (1, None), (2, 0), (3, 1), (4, 1)):
        for seed in range(2):
            folder.run(trial, seed, matrix_for(0.6 + 0.1 * ((first or trial) == 1), 0.9), same_as=first)
    runs = analysis.load(folder.write())
    found = analysis.front(analysis.trials(runs), runs=runs)
    assert found.table["trial"].tolist() == [1, 0]
    assert found.members["trial"].tolist() == [1]
    assert "Each configuration once: 3 trial(s) that came to the same as an earlier one left out." in found.notes
    assert len(analysis.trials(runs)) == 5


@pytest.mark.parametrize("best", [False, True])
def test_the_default_is_corrected_only_where_it_is_the_best(tmp_path: Path, best: bool) -> None:
    """Else nobody chose it: it was named beforehand."""
    folder, draw = Folder(tmp_path), np.random.default_rng(1)
    for trial in range(6):
        for seed in range(3):
            level = 0.9 if best and trial == 0 else 0.6 + 0.01 * trial
            folder.run(trial, seed, matrix_for(level + 0.01 * draw.standard_normal(), 0.8))
    runs = analysis.load(folder.write())
    found = analysis.front(analysis.trials(runs), runs=runs).table.set_index("trial")
    assert found["corrected_average_score"].isna().to_dict() == {trial: trial == 0 and not best for trial in range(6)}


def test_a_cost_is_normalised_before_noise_is_taken_off_the_volume(tmp_path: Path) -> None:
    """Without any noise nothing is taken off, in whatever unit the cost is."""
    folder = Folder(tmp_path)
    for trial in range(4):
        for seed in range(3):
            folder.run(trial, seed, matrix_for(0.5 + 0.1 * trial, 0.8), stored_bytes=1000 * (trial + 1))
    runs = analysis.load(folder.write())
    found = analysis.front(analysis.trials(runs), ("stability", "plasticity", "stored_bytes"), runs)
    assert found.corrected_hypervolume is not None
    assert found.hypervolume == pytest.approx(0.8 * (0.5 * 0.85 + 0.1 * 0.6 + 0.1 * 0.35 + 0.1 * 0.1))
    assert found.corrected_hypervolume.value == pytest.approx(found.hypervolume)


def test_from_even_odds_on_the_noise_is_said_to_hide_what_differs() -> None:
    assert _hidden(0.49) == []
    assert "probability of 0.50" in _hidden(0.5)[0]
