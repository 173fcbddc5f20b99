"""What a study of known truth tells of the intervals: which of them hold the truth, and how far off the numbers are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import moocore
import numpy as np
from numpy.typing import NDArray

from analysis.noise import Floats, root, tails
from analysis.true_means import true_means
from analysis.uncertainty import Side, corrected, interval, of_front, paired
from benchmarks.made_up_studies import Study

UP, WORST, BOUNDS = [True, True], [0.0, 0.0], (np.zeros(2), np.ones(2))
BANDS = (0.0, 0.02, 0.1, 0.3, 0.6, 0.9, 1.0)  # of front share
Found = dict[str, float]  # by name, NaN where there is none


@dataclass(frozen=True)
class Bands:
    """Rows of `table` (3, 6), by band of the front share: how many trials were shown with it, the sum of what was
    shown, how many of them are on the front of the true means."""

    table: Floats

    def __add__(self, other: Bands) -> Bands:
        return Bands(self.table + other.table)


NO_BANDS = Bands(np.zeros((3, len(BANDS) - 1)))


def volume(points: Floats) -> float:
    """The hypervolume of `points` (n, 2) above (0, 0), clipped to [0, 1]."""
    return float(moocore.hypervolume(points.clip(*BOUNDS), ref=WORST, maximise=UP))


def on_front(points: Floats) -> NDArray[np.bool_]:
    """Which of `points` (n, 2) no other dominates (n,); equal ones are on the front together."""
    found: NDArray[np.bool_] = moocore.is_nondominated(points, maximise=UP, keep_weakly=True)
    return found


class Resampled(NamedTuple):
    """The bootstrap over seeds, the same ones for every trial: the different means (r, n, m) that came up, and which of
    them each resample has (draws,)."""

    means: Floats
    which: NDArray[np.int64]


def resampled(values: Floats, draws: int, rng: np.random.Generator) -> Resampled:
    """Means over resampled seeds of `values` (n, n_seeds, m).

    References:
        Efron & Tibshirani 1993, "An Introduction to the Bootstrap", ch. 6 and 8.
    """
    n_seeds = values.shape[1]
    counts = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), draws)
    different, which = np.unique(counts, axis=0, return_inverse=True)
    return Resampled(np.einsum("rs,nsm->rnm", different / n_seeds, values), which.reshape(-1))


def intervals(raw: float, statistics: Floats) -> dict[str, tuple[float, float]]:
    """The percentile and the basic bootstrap interval of 95 % from the `statistics` (draws,) of resamples.

    >>> intervals(3.0, np.array([1.0, 2.0]))["basic"]
    (4.025, 4.975)

    References:
        Davison & Hinkley 1997, "Bootstrap methods and their application", eq. 5.6 (basic) and 5.18 (percentile).
    """
    low, high = interval(statistics)
    return {"percentile": (low, high), "basic": (2 * raw - high, 2 * raw - low)}


def of_choice(study: Study, draws: int, rng: np.random.Generator) -> Found:
    """Of average accuracy: whether the intervals of a difference named beforehand (`named ...`), and of that of the
    best to the default (`chosen ...`), hold the true one; what the best is shown with too much (`best raw`, `best
    corrected`); and whether it passes for better than the default (`passes ...`)."""
    truth, values = study.truth[:, -1], study.values[..., -1]
    first, second = rng.choice(len(truth), 2, replace=False)
    named = _of_difference(values[second] - values[first], draws, rng)
    found = {f"named {name}": held for name, held in _held(named, truth[second] - truth[first])}
    best = int(values.mean(1).argmax())
    found["best raw"] = float(values[best].mean() - truth[best])
    of_best = _of_difference(values[best] - values[study.default], draws, rng)
    free = corrected(Side(values[None, study.default]), Side(values, best), draws=draws)
    if free is not None:
        of_best["corrected"] = free.interval
        # The default is compared as it is: beyond it lies the corrected mean of the best.
        found["best corrected"] = float(values[study.default].mean()) + free.value - float(truth[best])
    is_other = best != study.default
    for name, held in _held(of_best, truth[best] - truth[study.default]):
        found[f"chosen {name}"] = held if is_other else math.nan
    return found | {f"passes {name}": float(is_other and low > 0) for name, (low, _) in of_best.items()}


def _of_difference(differences: Floats, draws: int, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    sample = resampled(differences[None, :, None], draws, rng)
    found = intervals(float(differences.mean()), sample.means[sample.which, 0, 0])
    student = paired(differences)
    return found if student is None else found | {"student": student.interval}


def _held(found: dict[str, tuple[float, float]], truth: float) -> list[tuple[str, float]]:
    return [(name, float(low <= truth <= high)) for name, (low, high) in found.items()]


def of_volume(study: Study, draws: int, rng: np.random.Generator, others: bool) -> tuple[Found, Bands, Bands]:
    """Of the front in stability and plasticity: whether the intervals of its hypervolume hold the true one, how much
    too large it is shown, and the front shares of the model and of the bootstrap. `others` adds the intervals that were
    tried and rejected."""
    truth, values = study.truth[:, :2], study.values[..., :2]
    true, raw, truly = volume(truth), volume(values.mean(1)), on_front(truth)
    sample = resampled(values, draws, rng)
    shares = np.array([on_front(means) for means in sample.means])[sample.which].mean(0)
    volumes = np.array([volume(means) for means in sample.means])[sample.which]
    found, bias = intervals(raw, volumes), {"volume bias raw": raw - true}
    model = of_front(values, UP, WORST, BOUNDS, draws)
    if model is not None:
        low, high = found["model"] = model.hypervolume.interval
        bias |= {"volume bias corrected": model.hypervolume.value - true, "volume width": high - low}
        if others:
            found |= rejected(values, draws, rng)
    held = {f"volume {name}": inside for name, inside in _held(found, true)}
    none = np.full(len(truth), math.nan)
    return held | bias, bands(none if model is None else model.front_share, truly), bands(shares, truly)


def rejected(values: Floats, draws: int, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """Intervals of the hypervolume of `values` (n, n_seeds, 2) from the same model in two other ways: `posterior`, what
    the middle 95 % of volumes of drawn true means lie between; `independent`, as the product's, but with noise drawn
    for each trial by itself from its estimated covariance, in place of the seeds' own residuals."""
    model = true_means(values)
    levels = model.noise.levels(draws, rng)[:, None]
    posterior = np.array([volume(points) for points in model.draws(draws, rng) + levels])
    shape = (draws, len(values))
    normal = rng.standard_normal((*shape, 2)) * tails(model.noise.freedom, shape, rng)[..., None]
    roots = np.broadcast_to(root(model.noise.of_contrasts), (len(values), 2, 2))
    errors = np.einsum("nij,dnj->dni", roots, normal) + levels
    centre = volume(model.means)
    gains = np.array([volume(model.means + error) - centre for error in errors])
    low, high = interval(gains)
    raw = volume(values.mean(1))
    return {"posterior": interval(posterior), "independent": (raw - high, raw - low)}


def bands(shown: Floats, truly: NDArray[np.bool_]) -> Bands:
    """What was `shown` (n,) of trials that are `truly` (n,) on the front or not; NaN is in no band.

    >>> bands(np.array([0.0, 0.05, 1.0, np.nan]), np.array([False, True, True, True])).table.tolist()[::2]
    [[1.0, 1.0, 0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0, 0.0, 1.0]]
    """
    there = ~np.isnan(shown)
    which = np.searchsorted(BANDS[1:-1], shown[there], side="right")
    sums = (None, shown[there], truly[there].astype(float))
    return Bands(np.array([np.bincount(which, weights, len(BANDS) - 1) for weights in sums], dtype=float))
