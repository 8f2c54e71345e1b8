"""laws.json: everything that is concluded from a ladder's records, and nothing that is not in them.

The same records give the same bytes: no date, no clock, no machine.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from recscale.scaling import crosschecks, forecast, intervals, link, rivals, trends
from recscale.scaling.intervals import LEVEL
from recscale.scaling.ladder import Ladder
from recscale.scaling.laws import Fit, LawError
from recscale.scaling.points import seed_noise
from recscale.scaling.series import Series, series
from recscale.types import Record

FILE = "laws.json"
RESAMPLES = 300
PUBLISHED = {"Kaplan 2020": 0.73, "Chinchilla 2022": 0.5}  # size ~ compute^this


def write(ladder: Ladder, records: Sequence[Record], out: Path) -> dict[str, Any]:
    """Draw the conclusions and write them, whole. Held-out runs are not among what is fitted."""
    document = conclusions(ladder, records, out)
    path = out / FILE
    aside = path.with_name(f".{os.getpid()}.{path.name}")
    aside.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    aside.replace(path)
    return document


def read(out: Path) -> dict[str, Any]:
    """The content of a ladder's laws.json."""
    told: dict[str, Any] = json.loads((out / FILE).read_text(encoding="utf-8"))
    return told


def conclusions(ladder: Ladder, records: Sequence[Record], out: Path) -> dict[str, Any]:
    """The content of laws.json."""
    told: dict[str, Any] = {
        "ladder": ladder.name,
        "loss": ladder.config.loss,
        "metric": ladder.config.metric,
        "families": {s.family: family(s) for s in series(ladder, ladder.fitted, records)},
    }
    if (out / forecast.FILE).exists():
        said = forecast.read(out / forecast.FILE)
        told["scorecard"] = forecast.scorecard(ladder, said, records)
    return told


def family(found: Series) -> dict[str, Any]:
    """What the runs of one family say."""
    points, axes = found.points, rivals.axes_of(found.points)
    noise = seed_noise(points)
    fitted, refused = rivals.fits(points)
    told: dict[str, Any] = {
        "runs": len(points),
        "points": [
            {"name": name, **{axis: float(v[i]) for axis, v in points.axes.items()},
             "loss": float(points.loss[i])}
            for i, name in enumerate(found.names)
        ],
        "noise": None if noise is None else asdict(noise),
        "trends": {
            axis: None if (t := trends.trend(points, axis, _others(axes, axis))) is None
            else asdict(t)
            for axis in axes
        },
        "laws": {name: law(fit) for name, fit in fitted.items()},
        "refused": refused,
    }  # fmt: skip
    told["verdict"] = verdict(told["trends"])
    primary = fitted.get("additive power")
    if primary is not None:
        told |= _of_primary(primary, axes)
    for name, made in (("isoflop", _isoflop), ("link", _link)):
        try:
            told[name] = made(found)
        except LawError as error:
            told["refused"][name] = str(error)
    return told


def verdict(found: dict[str, Any]) -> str:
    """Whether any axis pays, for the whole family."""
    said = [trend["verdict"] for trend in found.values() if trend is not None]
    if not said:
        return "not told"
    return "scales" if "scales" in said else "does not scale"


def law(fit: Fit) -> dict[str, Any]:
    """One fitted law: every number with its interval, and how well it fits."""
    total = float(((fit.points.loss - fit.points.loss.mean()) ** 2).sum())
    return {
        "axes": list(fit.form.axes),
        "numbers": {name: asdict(found) for name, found in intervals.coefficients(fit).items()},
        "deviation": fit.deviation,
        "degrees": fit.degrees,
        "r2": 1 - fit.squares / total if total else None,
    }


def _of_primary(fit: Fit, axes: Sequence[str]) -> dict[str, Any]:
    """Bootstrap, what a doubling beyond the top rung is worth, allocation, the robust twin."""
    top = {axis: float(fit.points.axes[axis].max()) for axis in axes}
    doubled = [{**top, axis: 2 * top[axis]} for axis in axes]
    drawn = intervals.bootstrap(fit, [top, *doubled], np.random.default_rng(0), RESAMPLES)
    gains: dict[str, Any] = {}
    for axis, place, values in zip(axes, doubled, drawn.predictions[1:], strict=True):
        low, high = _middle(values - drawn.predictions[0])
        gains[axis] = {"value": fit.predict(place) - fit.predict(top), "low": low, "high": high}
    told: dict[str, Any] = {
        "bootstrap": {
            "resamples": RESAMPLES,
            "numbers": {name: list(drawn.interval(name)) for name in drawn.numbers},
        },
        "doubling": {"from": top, "gain": gains},
        "joint": crosschecks.joint(fit.points, axes),
    }
    if {"params", "events"} <= set(axes):
        told["allocation"] = _allocation(fit, drawn)
    return told


def _allocation(fit: Fit, drawn: intervals.Bootstrap) -> dict[str, Any]:
    """size ~ compute^(b / (a + b)) where compute ~ size * events (Hoffmann et al. 2022, eq. 4)."""
    size, data = (drawn.numbers[f"exponent[{axis}]"] for axis in ("params", "events"))
    low, high = _middle(data / (size + data))
    a, b = (fit.numbers[f"exponent[{axis}]"] for axis in ("params", "events"))
    return {"params": {"value": b / (a + b), "low": low, "high": high}, "published": PUBLISHED}


def _isoflop(found: Series) -> dict[str, Any]:
    return asdict(crosschecks.isoflop(found.points))


def _link(found: Series) -> dict[str, Any]:
    if found.metric is None:
        raise LawError("loss to metric: a run did not measure the metric")
    history = found.points.places(["history"])
    slices = [np.flatnonzero(history == value) for value in np.unique(history)]
    line = link.link(found.points.loss, found.metric, slices)
    return {"level": line.level, "rate": line.rate, "spearman": line.spearman}


def _others(axes: Sequence[str], axis: str) -> list[str]:
    """What is held fixed. Size by its dial: a longer history brings a few parameters of its own."""
    return ["size" if other == "params" else other for other in axes if other != axis]


def _middle(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
