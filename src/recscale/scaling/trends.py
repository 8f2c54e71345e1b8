"""Does it scale at all? What a doubling of one axis does, all others held where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import t as student

from recscale.scaling.intervals import LEVEL
from recscale.scaling.points import Points

Verdict = Literal["scales", "does not scale", "worsens"]


@dataclass(frozen=True, slots=True)
class Trend:
    """Change of the loss for a doubling, with its 95 % interval; below zero is better."""

    axis: str
    per_doubling: float
    low: float
    high: float
    verdict: Verdict  # does not scale: zero lies in the interval


def trend(points: Points, axis: str, others: Sequence[str]) -> Trend | None:
    """The slope on log2(axis) between runs that agree on `others`; None where no two do.

    Each combination of the others has a level of its own, so that their shape cannot be taken for
    this axis's. Least squares with Student's t: exact for normal noise.
    """
    level = points.places(others)
    x = _within(np.log2(points.axes[axis]), level)
    y = _within(points.loss, level)
    degrees = len(points) - (level.max() + 1) - 1
    if degrees < 1 or not x.any():
        return None
    slope = float(x @ y / (x @ x))
    deviation = float(np.sqrt(((y - slope * x) ** 2).sum() / degrees / (x @ x)))
    half = float(student.ppf((1 + LEVEL) / 2, degrees)) * deviation
    return Trend(axis, slope, slope - half, slope + half, _verdict(slope - half, slope + half))


def _within(values: np.ndarray, level: np.ndarray) -> np.ndarray:
    """[n] -> [n], less the mean of its level."""
    return values - (np.bincount(level, values) / np.bincount(level))[level]


def _verdict(low: float, high: float) -> Verdict:
    if high < 0:
        return "scales"
    return "worsens" if low > 0 else "does not scale"
