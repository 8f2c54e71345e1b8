"""How sure a number is: resampling of users, and the spread over seeds.

Users are resampled whole (a cluster bootstrap), because events of one user are not independent.
The n-th replicate of two models draws the same users when both were resampled over the same users
with the same seed: that is what makes their `difference` a paired one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recscale.evaluation.metrics import Floats, Ints, require_finite, user_auc

RESAMPLES = 1000
_CELLS = 2**22  # weights held at once


@dataclass(frozen=True, slots=True)
class Resampled:
    """A statistic and its bootstrap replicates: NaN where a draw left it undefined."""

    value: float
    replicates: NDArray[np.float64]  # [S]
    users: int
    seed: int


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its percentile interval, 95 % where nothing else is said."""

    mean: float
    low: float
    high: float
    p: float  # two-sided: twice the smaller share of replicates on one side of zero


@dataclass(frozen=True, slots=True)
class Spread:
    """A number over seeds."""

    mean: float
    sd: float | None  # absent with one seed
    n: int


def mean(user: Ints, values: Floats, seed: int = 0, resamples: int = RESAMPLES) -> Resampled:
    """user [R], values [R] -> their mean over rows, users resampled."""
    users, row, counts = np.unique(user, return_inverse=True, return_counts=True)
    sums = np.bincount(row, values, len(users)).astype(np.float64)
    return _weighted_mean(sums, counts, seed, resamples)


def gauc(
    user: Ints, label: Floats, score: Floats, seed: int = 0, resamples: int = RESAMPLES
) -> Resampled:
    """user [n], label [n], score [n] -> GAUC, users resampled."""
    _, value, exposures = user_auc(user, label, score)
    weights = np.where(np.isnan(value), 0, exposures)
    return _weighted_mean(np.nan_to_num(value) * weights, weights, seed, resamples)


def auc(
    user: Ints, label: Floats, score: Floats, seed: int = 0, resamples: int = RESAMPLES
) -> Resampled:
    """user [n], label [n], score [n] -> AUC over all rows, users resampled."""
    require_finite(score)
    users, row = np.unique(user, return_inverse=True)
    positive = label > 0
    order = np.flatnonzero(~positive)[np.argsort(score[~positive], kind="stable")]
    ahead, behind = row[positive], row[order]
    below = np.searchsorted(score[order], score[positive], side="left")
    upto = np.searchsorted(score[order], score[positive], side="right")

    def weighted(weight: NDArray[np.float64]) -> float:
        """Weights [U] -> AUC; half of the ties count."""
        won = np.r_[0.0, np.cumsum(weight[behind])]
        pairs = weight[ahead].sum() * won[-1]
        return float(weight[ahead] @ (won[below] + won[upto]) / 2 / pairs) if pairs else np.nan

    draws = _draws(len(users), seed, resamples)
    replicates = np.array([weighted(weight) for block in draws for weight in block])
    return Resampled(weighted(np.ones(len(users))), replicates, len(users), seed)


def average(parts: Sequence[Resampled]) -> Resampled:
    """The mean over seeds of one statistic, replicate by replicate."""
    _same_draws(parts)
    replicates = np.mean([part.replicates for part in parts], axis=0)
    value = float(np.mean([part.value for part in parts]))
    return Resampled(value, replicates, parts[0].users, parts[0].seed)


def difference(a: Resampled, b: Resampled, level: float = 0.95) -> Interval:
    """How much higher a is than b, paired replicate by replicate."""
    _same_draws([a, b])
    delta = a.replicates - b.replicates
    delta = delta[~np.isnan(delta)]
    low, high = np.quantile(delta, [(1 - level) / 2, (1 + level) / 2])
    smaller = min(int((delta <= 0).sum()), int((delta >= 0).sum()))
    p = min(1.0, 2 * (smaller + 1) / (delta.size + 1))  # + 1: a bootstrap cannot show p = 0
    return Interval(a.value - b.value, float(low), float(high), p)


def over_seeds(values: Sequence[float]) -> Spread:
    """The values of one number, a seed each -> mean and sample standard deviation."""
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), sd, len(values))


def _weighted_mean(sums: Floats, weights: Floats | Ints, seed: int, resamples: int) -> Resampled:
    """Per-user sums [U] and weights [U] -> sum of sums / sum of weights."""
    pairs = np.stack([sums, weights], axis=1).astype(np.float64)  # [U, 2]
    drawn = np.concatenate([block @ pairs for block in _draws(len(sums), seed, resamples)])
    total = pairs.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return Resampled(float(total[0] / total[1]), drawn[:, 0] / drawn[:, 1], len(sums), seed)


def _draws(users: int, seed: int, resamples: int) -> Iterator[NDArray[np.float64]]:
    """Blocks [s, U]: how often each user is drawn in each of s resamples."""
    if users < 2:
        raise ValueError(f"a bootstrap over users needs at least 2 of them, got {users}")
    generator = np.random.default_rng(seed)
    share = np.full(users, 1.0 / users)
    block = max(1, _CELLS // users)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        yield generator.multinomial(users, share, size).astype(np.float64)


def _same_draws(parts: Sequence[Resampled]) -> None:
    draws = {(part.users, part.seed, part.replicates.size) for part in parts}
    if len(draws) > 1:
        raise ValueError(f"not paired: (users, seed, resamples) differ: {sorted(draws)}")
