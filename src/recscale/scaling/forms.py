"""The laws on offer: each a sum of terms whose shape is set by a few exponents.

Most see axes over their geometric mean, so that every term is near 1 and an exponent is told from
its coefficient as well as it can be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recscale.scaling.points import Floats

Axes = Mapping[str, Floats]  # name -> [n], each over its geometric mean


@dataclass(frozen=True, slots=True)
class Shape:
    """A number that enters a law non-linearly, and where it is searched."""

    name: str
    low: float
    high: float
    starts: int = 8  # of the grid that the search begins with


@dataclass(frozen=True, slots=True)
class Form:
    """loss = offset(shape) + terms(shape) @ coefficients.

    terms: shape [S], axes [n] -> [n, K]. powers: for a coefficient that belongs to axis^-exponent,
    which axis and which shape, so that it can be told in the axis's own units.
    """

    name: str
    axes: tuple[str, ...]
    shapes: tuple[Shape, ...]
    coefficients: tuple[str, ...]
    terms: Callable[[Floats, Axes], Floats]
    positive: bool  # coefficients cannot be negative
    offset: Callable[[Floats, Axes], Floats] | None = None
    powers: Mapping[str, tuple[str, int]] | None = None
    scaled: bool = True  # False: axes reach `terms` as they are

    @property
    def size(self) -> int:
        """Numbers that are fitted."""
        return len(self.shapes) + len(self.coefficients)


EXPONENT = (0.02, 3.0)  # below it a power cannot be told from a constant, above from a step


def additive(axes: Sequence[str]) -> Form:
    """E + A / N^a + B / D^b, a term for each axis.

    Hoffmann et al. 2022, "Training Compute-Optimal Large Language Models", eq. 2; of one axis alone
    it is the law of LSRM (Zhang et al. 2024). Fitted by variable projection.
    """
    names = tuple(axes)

    def terms(shape: Floats, at: Axes) -> Floats:
        powers = [at[name] ** -exponent for name, exponent in zip(names, shape, strict=True)]
        return np.stack([np.ones_like(powers[0]), *powers], axis=1)

    return Form(
        name="additive power",
        axes=names,
        shapes=tuple(Shape(f"exponent[{name}]", *EXPONENT) for name in names),
        coefficients=("E", *(f"A[{name}]" for name in names)),
        terms=terms,
        positive=True,
        powers={f"A[{name}]": (name, place) for place, name in enumerate(names)},
    )


def log_linear(axes: Sequence[str]) -> Form:
    """A constant gain for each doubling of each axis: the law of HSTU (Zhai et al. 2024)."""
    names = tuple(axes)

    def terms(_: Floats, at: Axes) -> Floats:
        logs = [np.log(at[name]) for name in names]
        return np.stack([np.ones_like(logs[0]), *logs], axis=1)

    coefficients = ("level", *(f"slope[{name}]" for name in names))
    return Form("log-linear", names, (), coefficients, terms, positive=False)


def floor_power(axis: str = "flops") -> Form:
    """E + K / C^c: one axis, mostly compute, stands for all (Ardalani et al. 2022, eq. 1)."""

    def terms(shape: Floats, at: Axes) -> Floats:
        return np.stack([np.ones_like(at[axis]), at[axis] ** -shape[0]], axis=1)

    return Form(
        "power with floor",
        (axis,),
        (Shape(f"exponent[{axis}]", *EXPONENT),),
        ("E", f"A[{axis}]"),
        terms,
        positive=True,
        powers={f"A[{axis}]": (axis, 0)},
    )


SHARPNESS = 0.2  # of the break: Caballero's f, too little told by a short ladder to be fitted


def broken_power(axis: str = "flops") -> Form:
    """E + K x^-a (1 + (x / x0)^(1/f))^-(f (b - a)): exponent a before the break at x0, b after.

    Caballero et al. 2023, "Broken Neural Scaling Laws", eq. 1 with one break.
    """

    def terms(shape: Floats, at: Axes) -> Floats:
        before, after, place = shape
        x = at[axis]
        bend = np.logaddexp(0, (np.log(x) - place) / SHARPNESS) * SHARPNESS * (after - before)
        return np.stack([np.ones_like(x), np.exp(-before * np.log(x) - bend)], axis=1)

    return Form(
        "broken power",
        (axis,),
        (
            Shape(f"exponent[{axis}]", 0.0, 3.0, 5),
            Shape(f"exponent after[{axis}]", 0.0, 3.0, 5),
            Shape(f"ln break[{axis}]", -2.5, 2.5, 6),
        ),
        ("E", f"A[{axis}]"),
        terms,
        positive=True,
    )


PENALTY = 0.5  # p1 and p2 of the published code: pf1 = pf2 = 2


def performance(model: Sequence[str], data: str | None) -> Form:
    """w1 [ln H^w3 + p H^-w3] + w2 [ln d^w4 + p d^-w4] + ln D^w5 + p D^-w5 + b, p = 1/2.

    The Performance Law of Shen et al. 2024, "Predictive Models in Sequential Recommendations",
    eq. 8; H blocks, d width, D events times their quality. It was published for a metric, which
    rises; w1 and w2 are free in sign, so that it fits a loss as well. D has no coefficient of its
    own. Axes are taken as they are, since p weighs them against 1. What a ladder does not vary is
    left out: `model` is depth, width or both, and `data` the axis of D or None.
    """
    names = (*model, *(() if data is None else (data,)))

    def terms(shape: Floats, at: Axes) -> Floats:
        columns = [_bend(at[name], w) for name, w in zip(model, shape, strict=False)]
        return np.stack([np.ones_like(columns[0]), *columns], axis=1)

    def offset(shape: Floats, at: Axes) -> Floats:
        assert data is not None
        return _bend(at[data], shape[-1])

    return Form(
        "performance law",
        names,
        tuple(Shape(f"w[{name}]", -1.5, 1.5, 8) for name in names),
        ("b", *(f"weight[{name}]" for name in model)),
        terms,
        positive=False,
        offset=None if data is None else offset,
        scaled=False,
    )


def _bend(x: Floats, exponent: float) -> Floats:
    return exponent * np.log(x) + PENALTY * x**-exponent
