"""From loss to the metric that is wanted, where the one still orders the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata
from scipy.stats import t as student

from recscale.scaling.intervals import LEVEL, Interval
from recscale.scaling.laws import LawError
from recscale.scaling.points import Floats

FEWEST = 5  # runs whose rank correlation says something


@dataclass(frozen=True, slots=True)
class Link:
    """ln(metric) = level - rate * loss, a line fitted to n runs."""

    level: float
    rate: float
    spearman: float
    loss: Floats
    logs: Floats

    def predict(self, loss: float) -> Interval:
        """The metric of one more run with this loss, 95 %."""
        n, middle = len(self.loss), self.loss.mean()
        left = self.logs - (self.level - self.rate * self.loss)
        deviation = np.sqrt(left @ left / (n - 2))
        spread = ((self.loss - middle) ** 2).sum()
        half = float(student.ppf((1 + LEVEL) / 2, n - 2)) * deviation
        half *= np.sqrt(1 + 1 / n + (loss - middle) ** 2 / spread)
        at = self.level - self.rate * loss
        return Interval(float(np.exp(at)), float(np.exp(at - half)), float(np.exp(at + half)))


def link(loss: Floats, metric: Floats, slices: Sequence[np.ndarray]) -> Link:
    """Fit the line; higher metrics are better. Raises LawError where rank correlation flips.

    slices: runs that share something (a history, a budget): over a whole ladder the correlation can
    be perfect while it turns round inside, as it does at large budgets (Spearman +0.93 to -1.00).
    """
    if len(loss) < FEWEST or (metric <= 0).any():
        raise LawError(f"loss to metric: needs {FEWEST} runs with a metric above 0")
    if np.ptp(loss) == 0 or np.ptp(metric) == 0:
        raise LawError("loss to metric: one of them is the same for every run")
    rank = spearman(loss, metric)
    if rank >= 0:
        raise LawError(f"loss to metric: lower loss is not better (Spearman {rank:+.2f})")
    for chosen in slices:
        if len(chosen) < FEWEST or np.ptp(loss[chosen]) == 0 or np.ptp(metric[chosen]) == 0:
            continue
        inside = spearman(loss[chosen], metric[chosen])
        if inside > 0:
            raise LawError(
                f"loss to metric: the rank correlation flips, {rank:+.2f} over all runs and "
                f"{inside:+.2f} inside a slice of {len(chosen)}"
            )
    slope, level = np.polyfit(loss, np.log(metric), 1)
    return Link(float(level), float(-slope), rank, loss, np.log(metric))


def spearman(a: Floats, b: Floats) -> float:
    """Rank correlation, ties sharing their rank."""
    return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
