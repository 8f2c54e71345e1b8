"""How sure a law is: intervals by profile likelihood, and a bootstrap over rungs and seeds.

A number's 95 % interval holds the values at which the best fit is not worse by more than chance:
squares(value) / squares - 1 <= F(1, degrees) / degrees (Bates & Watts 1988, "Nonlinear Regression
Analysis", section 6.1). It bends with the law where a standard error cannot, and its coverage is
tested on planted laws. An end that the points do not bound is None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from scipy.optimize import brentq
from scipy.stats import f as fisher

from recscale.scaling import laws
from recscale.scaling.laws import Fit
from recscale.scaling.points import Floats, one

LEVEL = 0.95
HEAVY = 1e3  # residuals that a pinned value weighs: as good as exact
STEPS = 40  # outwards from the estimate, each longer than the last


@dataclass(frozen=True, slots=True)
class Interval:
    """A number with the ends of its 95 % interval; None where the points do not bound it."""

    value: float
    low: float | None
    high: float | None

    def holds(self, truth: float) -> bool:
        """Whether `truth` lies inside."""
        above = self.low is None or self.low <= truth
        return above and (self.high is None or truth <= self.high)


def coefficients(fit: Fit) -> dict[str, Interval]:
    """Every number of a law with its interval."""
    found: dict[str, Interval] = {}
    for place, shape in enumerate(fit.form.shapes):
        found[shape.name] = _of_exponent(fit, place)
    for place, name in enumerate(fit.form.coefficients):
        found[name] = _of_coefficient(fit, place, name)
    return found


def prediction(fit: Fit, place: Mapping[str, float], runs: int | None = None) -> Interval:
    """The law at a place; with `runs`, the mean of that many runs there, seed noise included.

    A new run is a further point of weight 1: how much worse the fit gets by it says how surprising
    it is. For a linear law both are the textbook intervals exactly.
    """
    value = fit.predict(place)
    terms, offset = _at(fit, place)
    weight = HEAVY if runs is None else np.sqrt(runs)

    def worse(at: float, near: Floats) -> Fit:
        def pin(shape: Floats) -> tuple[Floats, float, float]:
            return terms(shape), at - offset(shape), weight

        return laws.search(fit, near, (pin,))

    low, high = _ends(fit, value, worse, (-np.inf, np.inf), max(fit.deviation, 1e-9))
    return Interval(value, low, high)


def _of_exponent(fit: Fit, place: int) -> Interval:
    shape, value = fit.form.shapes[place], float(fit.shape[place])

    def worse(at: float, near: Floats) -> Fit:
        held = near.copy()
        held[place] = at
        return laws.search(fit, held, frozen=place)

    low, high = _ends(fit, value, worse, (shape.low, shape.high), 0.02)
    return Interval(value, low, high)


def _of_coefficient(fit: Fit, place: int, name: str) -> Interval:
    """In the axes' own units. Where it cannot be negative its logarithm is walked along."""
    value = fit.numbers[name]
    row = np.eye(len(fit.coefficients))[place]
    walked = fit.form.powers is not None and name in fit.form.powers and value > 0

    def worse(at: float, near: Floats) -> Fit:
        wanted = np.exp(at) if walked else at

        def pin(shape: Floats) -> tuple[Floats, float, float]:
            return row, wanted * fit.unit(name, shape), HEAVY

        return laws.search(fit, near, (pin,))

    if walked:
        low, high = _ends(fit, np.log(value), worse, (-np.inf, np.inf), 0.05)
        ends = (None if end is None else float(np.exp(end)) for end in (low, high))
        return Interval(value, *ends)
    least = 0.0 if fit.form.positive else -np.inf
    step = max(fit.deviation, abs(value) * 1e-3, 1e-9)
    low, high = _ends(fit, value, worse, (least, np.inf), step)
    return Interval(value, low, high)


def _ends(
    fit: Fit,
    value: float,
    worse: Callable[[float, Floats], Fit],
    bounds: tuple[float, float],
    step: float,
) -> tuple[float | None, float | None]:
    """Where the fit becomes worse by more than chance, below and above `value`."""
    allowed = fit.squares * (1 + float(fisher.ppf(LEVEL, 1, fit.degrees)) / fit.degrees)
    return (
        _end(fit, value, worse, bounds[0], -step, allowed),
        _end(fit, value, worse, bounds[1], step, allowed),
    )


def _end(  # noqa: PLR0913, one argument for each part of the walk
    fit: Fit,
    value: float,
    worse: Callable[[float, Floats], Fit],
    bound: float,
    step: float,
    allowed: float,
) -> float | None:
    near, inside = fit.shape, value
    for _ in range(STEPS):
        at = inside + step
        if abs(at - value) > abs(bound - value):
            at = bound
        found = worse(at, near)
        if found.squares > allowed:
            return _crossing(worse, near, (inside, at), allowed)
        if at == bound:
            return None
        near, inside, step = found.shape, at, step * 1.6
    return None


def _crossing(
    worse: Callable[[float, Floats], Fit], near: Floats, ends: tuple[float, float], allowed: float
) -> float:
    """Between two values, the one at which the squares are just allowed."""

    def excess(at: float) -> float:
        return worse(at, near).squares - allowed

    return float(cast(float, brentq(excess, *ends, rtol=1e-4)))  # pyright: ignore[reportArgumentType]


def _at(
    fit: Fit, place: Mapping[str, float]
) -> tuple[Callable[[Floats], Floats], Callable[[Floats], float]]:
    """Terms and offset of one place, for any exponents."""
    here = fit.scaled(one(place))

    def terms(shape: Floats) -> Floats:
        return fit.form.terms(shape, here)[0]

    def offset(shape: Floats) -> float:
        return 0.0 if fit.form.offset is None else float(fit.form.offset(shape, here)[0])

    return terms, offset


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Replicates of a law: rungs are drawn with replacement, then seeds inside each."""

    numbers: dict[str, Floats]  # name -> [S]
    predictions: list[Floats]  # a place each -> [S]

    def interval(self, name: str) -> tuple[float, float]:
        """The middle 95 % of a number's replicates."""
        low, high = np.quantile(self.numbers[name], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)


def bootstrap(
    fit: Fit, places: list[Mapping[str, float]], generator: np.random.Generator, resamples: int
) -> Bootstrap:
    """Refit drawn runs. A draw that leaves the law untold (too few rungs) is drawn again."""
    rungs = fit.points.rungs()
    members = [np.flatnonzero(rungs == rung) for rung in range(rungs.max() + 1)]
    numbers: dict[str, list[float]] = {name: [] for name in fit.numbers}
    predictions: list[list[float]] = [[] for _ in places]
    for _ in range(resamples):
        again = laws.search(_redrawn(fit, members, generator), fit.shape)
        for name, value in again.numbers.items():
            numbers[name].append(value)
        for values, place in zip(predictions, places, strict=True):
            values.append(again.predict(place))
    return Bootstrap(
        {name: np.array(values) for name, values in numbers.items()},
        [np.array(values) for values in predictions],
    )


def _redrawn(fit: Fit, members: list[np.ndarray], generator: np.random.Generator) -> Fit:
    while True:
        drawn = generator.integers(0, len(members), len(members))
        if len(np.unique(drawn)) > fit.form.size:
            break
    index = np.concatenate([generator.choice(members[rung], len(members[rung])) for rung in drawn])
    return Fit(fit.form, fit.points.take(index), fit.reference, fit.shape, fit.coefficients, np.inf)
