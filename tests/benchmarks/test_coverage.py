"""Coverage of intervals: the made-up studies are what they say, and what is measured on them is what analysis says."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest

import analysis
from analysis.noise import Floats
from analysis.uncertainty import corrected_means, of_front, paired
from benchmarks import coverage, coverage_cells
from benchmarks.coverage_cells import NOTHING, Cell, Result, measure, measure_all, real
from benchmarks.coverage_measures import NO_BANDS, of_choice, of_volume, on_front, rejected, resampled, volume
from benchmarks.coverage_tables import calibration, table, tenths, together
from benchmarks.made_up_studies import NOISES, POPULATIONS, REACH, SD, SD_OF_AVERAGE, Study, made_up, with_average
from cfsweep.errors import InputError, NoAnswerError
from tests.analysis.folder import Folder, matrix_for


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", POPULATIONS)
def test_a_population_lies_where_accuracies_do(name: str) -> None:
    means = POPULATIONS[name](40, rng())
    assert means.shape == (40, 2)
    assert means.min() > 0.2
    assert means.max() < 1


def test_populations_are_what_they_are_called() -> None:
    assert on_front(POPULATIONS["on a curve"](40, rng())).all()
    assert np.linalg.norm(POPULATIONS["cloud under a curve"](40, rng()) - 0.5, axis=1).max() <= 0.45 + 1e-12
    assert len(np.unique(POPULATIONS["equal"](40, rng()), axis=0)) == 1
    assert np.ptp(POPULATIONS["closer than the noise"](40, rng()), axis=0).max() < 2 * SD
    good = POPULATIONS["60 % equal, 40 % worse"](40, rng())
    assert (good[:24] == good[0]).all()
    assert (good[24:] <= good[0] - 0.05).all()
    average = with_average(POPULATIONS["one better by 2 sds"](40, rng()))[:, 2]
    assert average[-1] - average[0] == pytest.approx(2 * SD_OF_AVERAGE)
    assert np.ptp(average[:-1]) == 0


def errors(noise: str, means: Floats, n_seeds: int = 20_000) -> Floats:
    """(n_trials, n_seeds) of the first score."""
    found: Floats = (NOISES[noise](means, n_seeds, rng(3)) - means[:, None])[..., 0]
    return found


@pytest.mark.parametrize("noise", ["plain", "worse trials noisier", "heavy tails (t5)"])
def test_half_of_the_noise_is_shared(noise: str) -> None:
    e = errors(noise, np.full((3, 2), 0.8))
    assert e.std(1) == pytest.approx(np.full(3, math.sqrt(2) * SD), rel=0.05)
    assert np.corrcoef(e)[0, 1] == pytest.approx(0.5, abs=0.03)
    kurtosis = float(((e - e.mean()) ** 4).mean() / e.var() ** 2)
    assert kurtosis == pytest.approx(6 if "t5" in noise else 3, rel=0.25), "(9 + 3) / 2 for the sum of two such"


def test_worse_trials_are_noisier_where_it_says_so() -> None:
    e = errors("worse trials noisier", np.array([[0.8, 0.8], [0.8, 0.8], [0.6, 0.6], [0.6, 0.6]]))
    assert (e[0] - e[1]).std() == pytest.approx(math.sqrt(2) * SD, rel=0.05)
    assert (e[2] - e[3]).std() == pytest.approx(2 * math.sqrt(2) * SD, rel=0.05)


def test_similar_trials_share_noise() -> None:
    e = errors("similar trials alike", np.array([[0.7, 0.8], [0.7 + REACH, 0.8], [0.2, 0.2]]))
    apart = [(e[0] - e[other]).var() / SD**2 for other in (1, 2)]
    assert apart == pytest.approx([2 - 2 * math.exp(-0.5), 2.0], rel=0.05)


def test_no_seed_shows_the_error_of_the_one_split() -> None:
    means = np.full((3, 2), 0.8)
    assert np.abs(errors("each seed its own split", means).mean(1)).max() < 5e-4
    left = errors("all seeds the same split", means)
    assert left.std(1) == pytest.approx(np.full(3, math.sqrt(2) * SD), rel=0.05)
    of_split = [NOISES["all seeds the same split"](means, 500, rng(s)).mean((0, 1))[0] - 0.8 for s in range(200)]
    assert np.std(of_split) == pytest.approx(SD, rel=0.2)


def test_a_score_is_a_share_of_the_examples() -> None:
    scores = NOISES["200 examples"](np.full((1, 2), 0.8), 20_000, rng())
    assert scores * 200 == pytest.approx(np.round(scores * 200), abs=1e-9)
    assert scores.var() == pytest.approx(0.8 * 0.2 / 200 + 2 * SD**2, rel=0.05)


def test_resamples_are_those_of_all_draws_with_replacement() -> None:
    values = np.array([[[1.0], [2.0], [6.0]], [[11.0], [12.0], [16.0]]])
    sample = resampled(values, 20_000, rng())
    assert len(sample.means) == 10
    assert (sample.means[:, 1] - sample.means[:, 0]).ravel() == pytest.approx(np.full(10, 10.0))
    every = [np.mean(drawn) for drawn in itertools.product([1.0, 2.0, 6.0], repeat=3)]
    for value in set(every):
        share = np.isclose(sample.means[sample.which, 0, 0], value).mean()
        assert share == pytest.approx(np.isclose(every, value).mean(), abs=0.015)


def test_what_is_measured_of_a_choice_is_what_analysis_says() -> None:
    study = made_up("Gaussian cloud", "plain", 12, 5, rng(7))
    found = of_choice(study, 400, rng(1))
    truth, scores = study.truth[:, 2], study.values[..., 2]
    best, means = int(scores.mean(1).argmax()), corrected_means(scores)
    assert best != 0
    assert means is not None
    assert found["best raw"] == scores[best].mean() - truth[best]
    assert found["best corrected"] == pytest.approx(means[best] - truth[best], abs=1e-9)
    first, second = rng(1).choice(12, 2, replace=False)
    for name, (a, b) in {"named": (first, second), "chosen": (0, best)}.items():
        student = paired(scores[b] - scores[a])
        assert student is not None
        low, high = student.interval
        assert found[f"{name} student"] == (low <= truth[b] - truth[a] <= high)
    assert found["passes student"] == (low > 0)


def test_the_default_as_the_best_is_no_difference_and_does_not_pass() -> None:
    truth = np.array([0.9, 0.5, 0.4])
    found = of_choice(Study(with_average(np.repeat(truth[:, None], 2, 1)), with_average(NOISES["plain"](
        np.repeat(truth[:, None], 2, 1), 3, rng()))), 100, rng())  # fmt: skip
    assert math.isnan(found["chosen corrected"])
    assert found["passes corrected"] == found["passes percentile"] == 0


def test_what_is_measured_of_a_front_is_what_analysis_says() -> None:
    study = made_up("Gaussian cloud", "plain", 12, 5, rng(7))
    found, model, bootstrap = of_volume(study, 200, rng(1), others=True)
    values = study.values[..., :2]
    said = of_front(values, [True, True], [0, 0], (np.zeros(2), np.ones(2)), 200)
    assert said is not None
    true = volume(study.truth[:, :2])
    assert found["volume model"] == (said.hypervolume.interval[0] <= true <= said.hypervolume.interval[1])
    assert found["volume bias corrected"] == said.hypervolume.value - true
    assert found["volume bias raw"] == pytest.approx(volume(values.mean(1)) - true)
    front = [not any((other > mine).all() for other in study.truth[:, :2]) for mine in study.truth[:, :2]]
    assert model.table.sum(1) == pytest.approx([12, said.front_share.sum(), sum(front)])
    assert bootstrap.table.sum(1)[[0, 2]].tolist() == [12, sum(front)]
    assert {"volume posterior", "volume independent", "volume percentile", "volume basic"} <= found.keys()


def test_without_noise_every_interval_is_the_volume() -> None:
    values = np.repeat(np.array([[0.5, 0.9], [0.7, 0.7], [0.9, 0.5], [0.4, 0.4]])[:, None], 3, 1)
    true = volume(values.mean(1))
    assert true == pytest.approx(0.9 * 0.5 + 0.2 * 0.7 + 0.2 * 0.5)
    for low, high in rejected(values, 100, rng()).values():
        assert (low, high) == pytest.approx((true, true), abs=1e-4)


def test_the_rejected_intervals_of_one_trial_are_students() -> None:
    """Plasticity is 0.5 throughout, so that the volume is half the stability: 0.3 ± 0.5 · 4.303 · 0.1 / √3."""
    values = np.array([[[0.5, 0.5], [0.6, 0.5], [0.7, 0.5]]])
    half = 0.5 * 4.303 * 0.1 / math.sqrt(3)
    for low, high in rejected(values, 40_000, rng()).values():
        assert (low, high) == pytest.approx((0.3 - half, 0.3 + half), abs=0.01)


def test_what_noise_adds_is_taken_off() -> None:
    study = made_up("equal", "plain", 24, 5, rng(4))
    low, high = rejected(study.values[..., :2], 400, rng())["independent"]
    assert (low + high) / 2 < volume(study.values[..., :2].mean(1)) - 0.005


def test_two_seeds_have_resamples_alone() -> None:
    found = measure(Cell(2, "equal", n_trials=8), range(3))
    assert math.isnan(found.mean("volume model"))
    assert found.mean("named percentile") >= 0
    assert found.model.table.tolist() == NO_BANDS.table.tolist()


@pytest.mark.parametrize("seed", range(6))
def test_the_measured_gate_is_the_gate(seed: int, tmp_path: Path) -> None:
    """On both sides of the answer: the last is better by 3 sds."""
    study = made_up("one better by 3 sds", "plain", 6, 3, rng(seed))
    folder = Folder(tmp_path, n_tasks=2)
    for trial, by_seed in enumerate(study.values):
        for number, (stability, plasticity, _) in enumerate(by_seed):
            folder.run(trial, number, matrix_for(stability, plasticity, n_tasks=2))
    passes = of_choice(study, 2000, rng())["passes corrected"]
    try:
        analysis.gate(folder.write(), beats="default")
    except NoAnswerError:
        assert passes == 0
    else:
        assert passes == 1


def test_students_interval_holds_and_the_percentile_one_does_not() -> None:
    found = measure(Cell(3, "Gaussian cloud", n_trials=8, fronts=False), range(300))
    assert found.mean("named student") == pytest.approx(0.95, abs=0.04)
    assert found.mean("named percentile") < 0.85
    assert found.mean("best corrected") < found.mean("best raw")


def test_parts_add_up_to_the_whole_in_any_process(tmp_path: Path) -> None:
    cell = Cell(3, "cloud under a curve", n_trials=8)
    whole = measure(cell, range(60))
    assert whole.totals == measure(cell, range(60)).totals
    for again in range(2):  # the second time from disk
        total = NOTHING
        for of, part in measure_all([cell, cell], 60, again and 1, tmp_path):
            assert of == cell
            total += part
        assert {name: n for name, (_, n) in total.totals.items()} == {n: c for n, (_, c) in whole.totals.items()}
        for name in whole.totals:
            assert total.mean(name) == pytest.approx(whole.mean(name), abs=1e-12)
        assert total.model.table == pytest.approx(whole.model.table)
        assert len(list(tmp_path.iterdir())) == 2


def test_other_code_measures_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell(3, "equal", n_trials=8, fronts=False)
    list(measure_all([cell], 2, 0, tmp_path))
    monkeypatch.setattr(coverage_cells, "_code", lambda: b"other")
    list(measure_all([cell], 2, 0, tmp_path))
    assert len(list(tmp_path.iterdir())) == 2


def many_seeds(root: Path, n_seeds: int = 20, n_trials: int = 6) -> Path:
    study = made_up("Gaussian cloud", "plain", n_trials, n_seeds, rng(2))
    folder = Folder(root, n_tasks=2)
    for trial, by_seed in enumerate(study.values):
        for seed, (stability, plasticity, _) in enumerate(by_seed):
            folder.run(trial, seed, matrix_for(stability, plasticity, n_tasks=2))
    return folder.write()


def test_the_truth_of_a_real_study_is_the_mean_over_its_seeds(tmp_path: Path) -> None:
    study = real(many_seeds(tmp_path))
    assert study.values.shape == (6, 20, 3)
    assert study.truth == pytest.approx(study.values.mean(1))
    assert study.default == 0
    found = measure(Cell(3, study=str(tmp_path), fronts=False), range(40))
    assert 0.7 < found.mean("named student") <= 1
    of_all = measure(Cell(20, study=str(tmp_path), fronts=False), range(3))
    assert of_all.mean("best raw") == pytest.approx(0, abs=1e-12), "all seeds, each once, are the truth"


def test_a_real_study_of_few_seeds_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = many_seeds(tmp_path, n_seeds=3)
    with pytest.raises(InputError, match="`20 seeds or more` must hold"):
        real(few)
    assert coverage.main(["--quick", "--workers", "0", "--study", str(few)]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith(f"benchmarks.coverage: --study {few}: `20 seeds or more` must hold")
    assert complaint.count("\n") == 1
    with pytest.raises(InputError, match="the default and another trial must have finished"):
        real(many_seeds(tmp_path / "one", n_trials=1))


def test_calibration_pools_seeds_of_the_model_and_leaves_thin_bands_out() -> None:
    cell = Cell(0, "on a curve", n_trials=24)
    results = {
        Cell(n, "on a curve", n_trials=24): measure(Cell(n, "on a curve", n_trials=24), range(6)) for n in (2, 3)
    }
    text = calibration(results, [cell], (2, 3), ["model", "bootstrap"])
    of_model = next(line for line in text.splitlines() if ": model" in line)
    assert "→ 1.00" in of_model
    assert "–" in of_model


def test_a_table_has_the_numbers_of_the_seeds_that_have_one() -> None:
    results = {
        Cell(2, "equal", n_trials=8): Result({"old": (3.0, 4.0)}, NO_BANDS, NO_BANDS),
        Cell(3, "equal", n_trials=8): Result({"old": (1.0, 4.0), "new": (19.0, 20.0)}, NO_BANDS, NO_BANDS),
    }
    columns = [("model", "new"), ("percentile", "old")]
    text = table(results, [Cell(0, "equal", n_trials=8)], columns, (2, 3), [tenths, tenths])
    assert text.splitlines()[0] == "|  | model: 3 seeds | percentile: 2 / 3 seeds |"
    assert text.splitlines()[2] == "| equal, 8 trials | 95.0 | 75.0 / 25.0 |"


def test_all_kinds_together_weigh_by_their_studies() -> None:
    kinds = [Cell(0, name, n_trials=8) for name in ("equal", "on a curve")]
    results = {
        Cell(3, "equal", n_trials=8): Result({"now": (9.0, 10.0), "before": (5.0, 10.0)}, NO_BANDS, NO_BANDS),
        Cell(3, "on a curve", n_trials=8): Result({"now": (30.0, 30.0), "before": (15.0, 30.0)}, NO_BANDS, NO_BANDS),
    }
    text = together(results, kinds, {"volume": ("now", "before")}, [3])
    assert text.splitlines()[2] == "| volume | 97.5 | 90.0 | 50.0 |"


def test_quick_writes_both_sections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("".join(f"<!-- begin {name} -->\nbefore\n<!-- end {name} -->\n" for name in ("simulated", "real")))
    monkeypatch.setattr(coverage, "PAGE", page)
    study = many_seeds(tmp_path / "mine")
    assert coverage.main(["--quick", "--write", "--workers", "0", "--study", str(study)]) == 0
    written = page.read_text()
    assert "before\n" not in written
    assert "|  | model: 3 seeds | percentile: 2 / 3 seeds | basic: 2 / 3 seeds |" in written
    assert "mine has 6 trials and 20 seeds" in written
    assert "4 studies for each row of plain noise" in written


def test_the_page_has_a_place_for_each_section() -> None:
    text = coverage.PAGE.read_text()
    for name in ("simulated", "real"):
        assert text.count(f"<!-- begin {name} -->") == text.count(f"<!-- end {name} -->") == 1
