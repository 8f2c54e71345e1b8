"""Fit a law to points by variable projection, and ask how sure its numbers are.

For given exponents a law is linear, and its coefficients follow exactly (by non-negative least
squares where they cannot be negative); only the exponents are searched. Against fitting all at
once this takes the condition number from about 1e11 to about 10 (Golub & Pereyra 1973; its use for
scaling laws is described in the open scaling-law-analysis of Open Athena).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product

import numpy as np
from scipy.optimize import least_squares, nnls

from recscale.scaling.forms import Form
from recscale.scaling.points import Floats, Points, one

POLISHED = 3  # best places of the starting grid that the search goes on from

# What a fit must also meet: exponents -> terms [K], a value, and how much it weighs.
Pin = Callable[[Floats], tuple[Floats, float, float]]


class LawError(ValueError):
    """A law that these points cannot tell."""


@dataclass(frozen=True)
class Fit:
    """A law and the numbers that fit n points best. Exact: the same points give the same bits."""

    form: Form
    points: Points
    reference: Mapping[str, float]  # what each axis is divided by
    shape: Floats  # [S]
    coefficients: Floats  # [K], of the scaled axes
    squares: float  # sum of squared residuals

    @property
    def degrees(self) -> int:
        """Of freedom that are left."""
        return len(self.points) - self.form.size

    @property
    def deviation(self) -> float:
        """Of a run around the law."""
        return float(np.sqrt(self.squares / self.degrees))

    @cached_property
    def numbers(self) -> dict[str, float]:
        """Every fitted number by name, coefficients in the axes' own units."""
        found = dict(zip((s.name for s in self.form.shapes), self.shape.tolist(), strict=True))
        return found | {
            name: float(value / self.unit(name, self.shape))
            for name, value in zip(self.form.coefficients, self.coefficients, strict=True)
        }

    def unit(self, name: str, shape: Floats) -> float:
        """What a coefficient in the axes' own units is multiplied by for scaled axes."""
        if self.form.powers is None or name not in self.form.powers:
            return 1.0
        axis, place = self.form.powers[name]
        return float(self.reference[axis] ** -shape[place])

    def predict(self, place: Mapping[str, float]) -> float:
        """The loss at one place."""
        terms, offset = _design(self.form, self.shape, self.scaled(one(place)))
        return float((terms @ self.coefficients + offset)[0])

    def scaled(self, axes: Mapping[str, Floats]) -> dict[str, Floats]:
        """Axes as the form sees them. Raises LawError for one that is missing."""
        for name in self.form.axes:
            if name not in axes:
                raise LawError(f"{self.form.name}: no {name} to predict at")
        return {name: axes[name] / self.reference[name] for name in self.form.axes}


def fit(form: Form, points: Points) -> Fit:
    """The best fit over a grid of exponents, polished. Raises LawError where points are too few."""
    _refuse(form, points)
    reference = {
        name: float(np.exp(np.log(points.axes[name]).mean())) if form.scaled else 1.0
        for name in form.axes
    }
    begun = Fit(form, points, reference, np.zeros(0), np.zeros(0), np.inf)
    grid = [
        np.array(shape)
        for shape in product(*(np.linspace(s.low, s.high, s.starts) for s in form.shapes))
    ]

    def squares(shape: Floats) -> float:
        left = _project(begun, shape, ())[1]
        return float(left @ left)

    tried = sorted(grid, key=squares)
    polished = [search(begun, shape) for shape in tried[:POLISHED]]
    return min(polished, key=lambda found: found.squares)


def search(begun: Fit, shape: Floats, pins: tuple[Pin, ...] = (), frozen: int | None = None) -> Fit:
    """The best fit near `shape`, meeting `pins`, exponent number `frozen` held where it is."""
    form = begun.form
    free = np.array([i for i in range(len(form.shapes)) if i != frozen], dtype=int)
    if len(free):
        low = np.array([form.shapes[i].low for i in free])
        high = np.array([form.shapes[i].high for i in free])

        def residuals(moved: Floats) -> Floats:
            return _project(begun, _moved(shape, free, moved), pins)[1]

        inside = np.clip(shape[free], low + 1e-6, high - 1e-6)
        found = least_squares(residuals, inside, bounds=(low, high), xtol=1e-10, ftol=1e-12)
        shape = _moved(shape, free, found.x)
    coefficients, left = _project(begun, shape, pins)
    return replace(begun, shape=shape, coefficients=coefficients, squares=float(left @ left))


def _moved(shape: Floats, free: np.ndarray, values: Floats) -> Floats:
    changed = shape.copy()
    changed[free] = values
    return changed


def _design(form: Form, shape: Floats, at: Mapping[str, Floats]) -> tuple[Floats, Floats]:
    terms = form.terms(shape, at)
    return terms, np.zeros(len(terms)) if form.offset is None else form.offset(shape, at)


def _project(begun: Fit, shape: Floats, pins: tuple[Pin, ...]) -> tuple[Floats, Floats]:
    """shape [S] -> the coefficients that follow [K], residuals [n + pins]."""
    terms, offset = _design(begun.form, shape, begun.scaled(begun.points.axes))
    target = begun.points.loss - offset
    for pin in pins:
        row, value, weight = pin(shape)
        terms = np.vstack([terms, weight * row])
        target = np.append(target, weight * value)
    if begun.form.positive:
        coefficients = nnls(terms, target)[0]
    else:
        coefficients = np.linalg.lstsq(terms, target, rcond=None)[0]
    return np.asarray(coefficients, np.float64), terms @ coefficients - target


def _refuse(form: Form, points: Points) -> None:
    for name in form.axes:
        values = points.axes.get(name)
        if values is None or np.ptp(values) == 0:
            raise LawError(f"{form.name}: needs runs that differ in {name}")
        levels = len(np.unique(values))
        if form.shapes and levels < 3:
            raise LawError(f"{form.name}: {levels} values of {name} tell no exponent, 3 do")
    rungs = len(np.unique(points.places(form.axes)))
    if rungs <= form.size:
        raise LawError(f"{form.name}: {form.size} numbers from {rungs} rungs leave nothing to test")
