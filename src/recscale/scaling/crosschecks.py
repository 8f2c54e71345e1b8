"""Two other ways to the same exponents: parabolas at equal compute, and a robust fit at once.

Both are known to be worse (parabolas lean where the grid is off centre, the joint fit is badly
conditioned): they stand beside the primary fit so that a disagreement is seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.optimize import minimize
from scipy.stats import t as student

from recscale.scaling.intervals import LEVEL, Interval
from recscale.scaling.laws import LawError
from recscale.scaling.points import Floats, Points

HUBER = 1e-3  # Hoffmann et al. 2022, section D.2
NEAR = 1.15  # budgets within this factor are one
STARTS = (0.1, 0.5, 1.0, 1.5)  # exponents that the joint fit begins with


@dataclass(frozen=True, slots=True)
class IsoFlop:
    """The best size at each budget, and how it grows: size ~ budget^exponent."""

    budgets: list[float]
    sizes: list[float]
    losses: list[float]  # at the bottom of each valley
    exponent: Interval


def isoflop(points: Points, size: str = "params", compute: str = "flops") -> IsoFlop:
    """A parabola in log size for each budget (Hoffmann et al. 2022, approach 2).

    Raises LawError for fewer than three budgets whose valley has a bottom between its sizes.
    """
    budgets, sizes, losses = [], [], []
    for budget, chosen in _budgets(points.axes[compute]):
        x, y = np.log(points.axes[size][chosen]), points.loss[chosen]
        if len(np.unique(x)) < 4:  # with three a parabola fits anything
            continue
        curve, slope, level = np.polyfit(x, y, 2)
        bottom = -slope / (2 * curve) if curve > 0 else np.inf
        if x.min() <= bottom <= x.max():
            budgets.append(budget)
            sizes.append(float(np.exp(bottom)))
            losses.append(float(level - slope**2 / (4 * curve)))
    if len(budgets) < 3:
        raise LawError(
            f"isoflop: needs 3 budgets of 4 sizes with the best one inside, found {len(budgets)}"
        )
    return IsoFlop(budgets, sizes, losses, _slope(np.log(budgets), np.log(sizes)))


def joint(points: Points, axes: Sequence[str]) -> dict[str, float]:
    """E + sum of A / axis^exponent by L-BFGS on a Huber loss of logarithms (approach 3).

    The Huber losses are summed, not averaged: averaged, the search stops early, which is what the
    replication of Besiroglu et al. 2024 found in the published numbers.
    """
    logs = np.stack([np.log(points.axes[name]) for name in axes], axis=1)
    centre, target = logs.mean(0), np.log(points.loss)

    def cost(numbers: Floats) -> tuple[float, Floats]:
        return _huber(numbers, logs - centre, target)

    level = float(target.min()) - 0.1
    starts = [np.array([level, *[-3.0] * len(axes), *s]) for s in product(STARTS, repeat=len(axes))]
    found = [minimize(cost, start, jac=True, method="L-BFGS-B") for start in starts]
    best: Floats = found[int(np.argmin([one.fun for one in found]))].x
    exponents = best[1 + len(axes) :]
    return {
        "E": float(np.exp(best[0])),
        **{
            f"A[{name}]": float(np.exp(best[1 + i] + exponents[i] * centre[i]))
            for i, name in enumerate(axes)
        },
        **{f"exponent[{name}]": float(exponents[i]) for i, name in enumerate(axes)},
    }


def _slope(x: Floats, y: Floats) -> Interval:
    """Of a line through three or more points, with Student's interval."""
    slope, level = np.polyfit(x, y, 1)
    left = y - level - slope * x
    deviation = np.sqrt(left @ left / (len(x) - 2) / ((x - x.mean()) ** 2).sum())
    half = float(student.ppf((1 + LEVEL) / 2, len(x) - 2) * deviation)
    return Interval(float(slope), float(slope) - half, float(slope) + half)


def _huber(numbers: Floats, logs: Floats, target: Floats) -> tuple[float, Floats]:
    """numbers [1 + 2K], logs [n, K], target [n] -> summed loss, its gradient [1 + 2K]."""
    k = logs.shape[1]
    parts = np.column_stack(
        [np.full(len(target), numbers[0]), numbers[1 : 1 + k] - numbers[1 + k :] * logs]
    )
    total = np.logaddexp.reduce(parts, axis=1)
    gap = total - target
    small = np.abs(gap) <= HUBER
    loss = np.where(small, gap**2 / 2, HUBER * (np.abs(gap) - HUBER / 2)).sum()
    pull = np.clip(gap, -HUBER, HUBER)[:, None] * np.exp(parts - total[:, None])  # [n, 1 + K]
    return float(loss), np.concatenate([pull.sum(0), -(pull[:, 1:] * logs).sum(0)])


def _budgets(compute: Floats) -> list[tuple[float, np.ndarray]]:
    """Runs whose compute is alike, from the smallest on: budget, indices."""
    order = np.argsort(compute)
    groups = np.split(order, np.flatnonzero(np.diff(np.log(compute[order])) > np.log(NEAR)) + 1)
    return [(float(np.exp(np.log(compute[group]).mean())), group) for group in groups]
