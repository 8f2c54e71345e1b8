"""Quality metrics as pure functions of arrays. R targets, V item ids, n exposures.

A metric that its input leaves undefined (no target, one class only) is None, never 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]
Bools = NDArray[np.bool_]

CALIBRATION_BINS = 15  # Guo et al. 2017, "On Calibration of Modern Neural Networks", table 1


def rank(scores: Floats, target: Ints, allowed: Bools | None = None) -> NDArray[np.float64]:
    """scores [R, V], target [R] ids, allowed [R, V] -> [R]: 1 + items above + half of the ties.

    Items that are not allowed are left out of the ranking; a target itself is always in it.
    """
    rows = np.arange(len(target))
    own = scores[rows, target][:, None]
    others = np.ones(scores.shape, dtype=bool) if allowed is None else allowed.copy()
    others[rows, target] = True
    require_finite(scores[others])
    others[rows, target] = False
    above = np.count_nonzero((scores > own) & others, axis=1)
    ties = np.count_nonzero((scores == own) & others, axis=1)
    return 1.0 + above + 0.5 * ties


def hit(ranks: Floats, k: int) -> NDArray[np.float64]:
    """[R] ranks -> [R], 1.0 where the target is among the first k; rank k counts."""
    return (ranks <= k).astype(np.float64)


def ndcg(ranks: Floats, k: int) -> NDArray[np.float64]:
    """[R] ranks -> [R], 1 / log2(1 + rank) up to rank k: one target, ideally first."""
    return np.where(ranks <= k, 1.0 / np.log2(1.0 + ranks), 0.0)


def reciprocal(ranks: Floats) -> NDArray[np.float64]:
    """[R] ranks -> [R], 1 / rank; 0 for a target that could not be ranked (rank infinity)."""
    return np.reciprocal(ranks, dtype=np.float64)


def per_target(ranks: Floats) -> dict[str, NDArray[np.float64]]:
    """[R] ranks -> every retrieval metric of each target, name -> [R]."""
    values = {f"hr@{k}": hit(ranks, k) for k in (10, 50, 200)}
    values |= {f"ndcg@{k}": ndcg(ranks, k) for k in (10, 200)}
    return values | {"mrr": reciprocal(ranks)}


def retrieval(ranks: Floats) -> dict[str, float]:
    """[R] ranks -> name -> mean over targets; empty without targets."""
    if not ranks.size:
        return {}
    return {name: float(values.mean()) for name, values in per_target(ranks).items()}


def softmax_loss(logits: Floats, of: Ints, target: Ints) -> NDArray[np.float64]:
    """logits [G, V] of G requests over the whole catalogue; of, target [R] -> [R] nats.

    -ln of the target's share under a softmax over every item: the slate is the same whatever a
    model was trained on or with, so that losses compare between objectives, sizes and histories.
    """
    shifted = logits - logits.max(axis=1, keepdims=True)  # exp of nothing above 0
    total = np.log(np.exp(shifted, dtype=np.float64).sum(axis=1))
    return total[of] - shifted[of, target]


def auc(label: Floats, score: Floats) -> float | None:
    """[n], [n] -> probability that a positive scores above a negative, ties counting half."""
    require_finite(score)
    positive = label > 0
    positives = int(positive.sum())
    negatives = label.size - positives
    if not positives or not negatives:
        return None
    # Mann-Whitney U from midranks.
    above = rankdata(score)[positive].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))


def user_auc(
    user: Ints, label: Floats, score: Floats
) -> tuple[Ints, NDArray[np.float64], NDArray[np.int64]]:
    """[n] x 3 -> users, their AUC (NaN for a user of one class), their exposures: [U] x 3."""
    require_finite(score)
    users, row, exposures = np.unique(user, return_inverse=True, return_counts=True)
    order = np.lexsort((score, row))
    starts = np.cumsum(exposures) - exposures
    midranks = _midranks(row[order], score[order]) - starts[row[order]]  # counted inside the user
    positive = label[order] > 0
    positives = np.bincount(row[order], positive, len(users))
    ranks = np.bincount(row[order], midranks * positive, len(users))
    with np.errstate(invalid="ignore", divide="ignore"):
        value = (ranks - positives * (positives + 1) / 2) / (positives * (exposures - positives))
    return users, value, exposures


def gauc(user: Ints, label: Floats, score: Floats) -> float | None:
    """AUC inside each user, averaged by exposures; single-class users left out.

    Zhou et al. 2018, "Deep Interest Network", section 6.2; there without "left out".
    """
    _, value, exposures = user_auc(user, label, score)
    both = ~np.isnan(value)
    if not both.any():
        return None
    return float(np.average(value[both], weights=exposures[both]))


def single_class_users(user: Ints, label: Floats) -> int:
    """Users whose exposures are all positive or all negative: GAUC leaves them out."""
    users, row, exposures = np.unique(user, return_inverse=True, return_counts=True)
    positives = np.bincount(row, label > 0, len(users))
    return int(((positives == 0) | (positives == exposures)).sum())


def logloss(label: Floats, score: Floats) -> float | None:
    """[n], [n] logits -> mean binary cross-entropy in nats, without ever rounding p to 0 or 1."""
    require_finite(score)
    if not label.size:
        return None
    logit = score.astype(np.float64)
    return float(np.mean(np.logaddexp(0.0, logit) - (label > 0) * logit))


def ne(label: Floats, score: Floats) -> float | None:
    """Normalised entropy: log loss over the entropy of the base rate; 1 is a constant predictor.

    He et al. 2014, "Practical Lessons from Predicting Clicks on Ads at Facebook".
    """
    loss = logloss(label, score)
    if loss is None:
        return None
    base = float((label > 0).mean())
    if base in (0.0, 1.0):
        return None
    return loss / -(base * np.log(base) + (1 - base) * np.log1p(-base))


def ece(label: Floats, score: Floats) -> float | None:
    """[n], [n] logits -> expected calibration error over bins of equal mass.

    Equal scores share a bin, so that the order of rows cannot change the value.
    """
    require_finite(score)
    if not label.size:
        return None
    probability = 1.0 / (1.0 + np.exp(-np.clip(score.astype(np.float64), -700, 700)))
    place = (rankdata(probability) - 0.5) / label.size  # in (0, 1)
    bins = (place * CALIBRATION_BINS).astype(np.int64)
    gap = np.bincount(bins, (label > 0) - probability, CALIBRATION_BINS)
    return float(np.abs(gap).sum() / label.size)


def ranking(user: Ints, label: Floats, score: Floats) -> dict[str, float]:
    """[n] x 3 -> every ranking metric that is defined, and the counts behind them."""
    values = {
        "auc": auc(label, score),
        "gauc": gauc(user, label, score),
        "logloss": logloss(label, score),
        "ne": ne(label, score),
        "ece": ece(label, score),
    }
    defined = {name: value for name, value in values.items() if value is not None}
    counts = {"exposures": label.size, "single_class_users": single_class_users(user, label)}
    return {**defined, **counts}


def require_finite(scores: Floats) -> None:
    """Raise ValueError when a score is NaN or infinite: no ranking by it means anything."""
    bad = scores.size - int(np.isfinite(scores).sum())
    if bad:
        raise ValueError(f"{bad} of {scores.size} scores are NaN or infinite")


def _midranks(row: Ints, score: Floats) -> NDArray[np.float64]:
    """Sorted rows -> 1-based positions [n], equal (row, score) pairs sharing their mean."""
    if not row.size:
        return np.zeros(0)
    first = np.flatnonzero(np.r_[True, (np.diff(row) != 0) | (np.diff(score) != 0)])
    last = np.r_[first[1:], row.size]
    return np.repeat((first + 1 + last) / 2.0, last - first)
