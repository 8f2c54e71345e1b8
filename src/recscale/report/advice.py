"""What a ladder advises, by rule: the best within the budget, and what a doubling is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from recscale.report.groups import get
from recscale.scaling.ladder import Ladder
from recscale.scaling.series import loss_of, metric_of
from recscale.types import Record

AXIS = {"params": "dense parameters", "history": "the history", "events": "the training events"}


@dataclass(frozen=True, slots=True)
class Choice:
    """The runs of one rung, as somebody who must choose sees them."""

    name: str
    family: str
    loss: float
    seeds: int
    metric: float | None
    p99_ms: float | None
    train_flops: float
    price: float | None  # of a thousand requests, on one core
    flops_per_request: float


def choices(ladder: Ladder, records: Sequence[Record]) -> list[Choice]:
    """One for each rung that has records, best loss first; smaller shares of the data left out."""
    groups: dict[str, list[Record]] = {}
    whole = {
        rung.name: rung
        for rung in (*ladder.fitted, *ladder.held_out)
        if rung.users == rung.events == 1
    }
    for record in records:
        if record["name"] in whole:
            groups.setdefault(whole[record["name"]].group, []).append(record)
    found = [
        _choice(ladder, name, whole[runs[0]["name"]].family, runs) for name, runs in groups.items()
    ]
    return sorted(found, key=lambda choice: choice.loss)


def front(found: Sequence[Choice], cost: str) -> list[Choice]:
    """The choices that nothing cheaper beats, cheapest first."""
    priced = [choice for choice in found if getattr(choice, cost) is not None]
    kept: list[Choice] = []
    for choice in sorted(priced, key=lambda c: (getattr(c, cost), c.loss)):
        if not kept or choice.loss < kept[-1].loss:
            kept.append(choice)
    return kept


def sentence(ladder: Ladder, told: Mapping[str, Any], found: Sequence[Choice]) -> str:
    """One sentence: the best under the budget with its loss, and the doubling that pays most."""
    budget = ladder.config.budget_ms
    within = [c for c in found if c.p99_ms is not None and c.p99_ms <= budget]
    if not within:
        return f"No rung that was timed keeps p99 \u2264 {budget:g} ms."
    best = within[0]
    noise = told["families"].get(best.family, {}).get("noise")
    sure = f" \u00b1 {noise['deviation']:.4f} over seeds" if noise else ", its seed noise unknown"
    metric = "" if best.metric is None else f", {ladder.config.metric} {best.metric:.4f}"
    head = (
        f"Under p99 \u2264 {budget:g} ms the best is {best.name} ({ladder.config.loss} "
        f"{best.loss:.4f}{sure}{metric})"
    )
    free = found[0]
    other = (
        "" if free is best else f"; {free.name} would be better ({free.loss:.4f}) but is too slow"
    )
    return f"{head}{other}; {worth(told['families'].get(best.family, {}))}."


def worth(family: Mapping[str, Any]) -> str:
    """The doubling beyond the top rung that is worth most, if any is told from nothing."""
    gains = family.get("doubling", {}).get("gain", {})
    sure = {axis: gain for axis, gain in gains.items() if gain["high"] < 0}
    scaling = {
        axis for axis, trend in family.get("trends", {}).items()
        if trend is not None and trend["verdict"] == "scales"
    }  # fmt: skip
    sure = {axis: gain for axis, gain in sure.items() if axis in scaling}
    if not sure:
        return "no further doubling is worth more than the noise"
    axis = min(sure, key=lambda name: sure[name]["value"])
    gain = sure[axis]
    return (
        f"one doubling of {AXIS.get(axis, axis)} is worth {gain['value']:+.4f} "
        f"[{gain['low']:+.4f}, {gain['high']:+.4f}] of loss"
    )


def _choice(ladder: Ladder, name: str, family: str, records: Sequence[Record]) -> Choice:
    metrics = [value for record in records if (value := metric_of(ladder, record)) is not None]
    p99 = [value for record in records if (value := get(record, "latency.p99_ms")) is not None]
    served = [v for record in records if (v := get(record, "latency.throughput_rps")) is not None]
    hour = ladder.config.price_per_core_hour
    return Choice(
        name=name,
        family=family,
        loss=mean(loss_of(ladder, record) for record in records),
        seeds=len(records),
        metric=mean(metrics) if metrics else None,
        p99_ms=mean(p99) if p99 else None,
        train_flops=mean(float(record["cost"]["train_flops"]) for record in records),
        price=1000 * hour / 3600 / mean(served) if served and hour else None,
        flops_per_request=mean(float(record["cost"]["flops_per_request"]) for record in records),
    )
