"""Every way to say what a larger rung will do, from the primary law to no law at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from recscale.scaling import forms, intervals, laws
from recscale.scaling.forms import Form
from recscale.scaling.intervals import LEVEL, Interval
from recscale.scaling.laws import Fit, LawError
from recscale.scaling.points import Points, seed_noise

AXES = ("params", "history", "events")  # what laws are written in; a ladder varies some of them
CARRIED = "last rung carried forward"


@dataclass(frozen=True, slots=True)
class Carried:
    """No law: a larger rung will do what the nearest one did."""

    points: Points
    axes: tuple[str, ...]

    def predict(self, place: Mapping[str, float], runs: int) -> Interval:
        """The mean of the nearest rung in doublings; without seed noise the interval is open."""
        away = sum(
            np.abs(np.log2(self.points.axes[name] / place[name])) for name in self.axes
        ) + np.zeros(len(self.points))
        near = np.isclose(away, away.min())
        value = float(self.points.loss[near].mean())
        noise = seed_noise(self.points)
        if noise is None:
            return Interval(value, None, None)
        half = float(student.ppf((1 + LEVEL) / 2, noise.degrees)) * noise.deviation
        half *= float(np.sqrt(1 / near.sum() + 1 / runs))
        return Interval(value, value - half, value + half)


def axes_of(points: Points) -> tuple[str, ...]:
    """The axes of laws that this ladder varies."""
    return tuple(name for name in AXES if name in points.varying)


def offered(points: Points) -> list[Form]:
    """The forms that these points can be asked about, the primary first."""
    axes, varying = axes_of(points), points.varying
    found = [forms.additive(axes), forms.log_linear(axes)] if axes else []
    if "flops" in varying:
        found += [forms.floor_power("flops"), forms.broken_power("flops")]
    model = [name for name in ("depth", "width") if name in varying]
    if model:
        found.append(forms.performance(model, "events" if "events" in varying else None))
    return found


def fits(points: Points) -> tuple[dict[str, Fit], dict[str, str]]:
    """Each law by name, fitted; and the laws that these points cannot tell, with the reason."""
    fitted: dict[str, Fit] = {}
    refused: dict[str, str] = {}
    for form in offered(points):
        try:
            fitted[form.name] = laws.fit(form, points)
        except LawError as error:
            refused[form.name] = str(error)
    return fitted, refused


def predictions(points: Points, place: Mapping[str, float], runs: int) -> dict[str, Interval]:
    """What each law that can be told says of the mean of `runs` runs at a place, 95 %."""
    fitted, _ = fits(points)
    said = {name: intervals.prediction(fit, place, runs) for name, fit in fitted.items()}
    return {**said, CARRIED: Carried(points, axes_of(points)).predict(place, runs)}
