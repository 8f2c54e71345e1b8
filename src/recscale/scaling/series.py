"""From records to points: one series a family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recscale import configfile
from recscale.config import RunConfig
from recscale.scaling.ladder import Ladder, Rung
from recscale.scaling.plan import shape
from recscale.scaling.points import Floats, Points
from recscale.types import Record


@dataclass(frozen=True, slots=True)
class Series:
    """The runs of one family, in the order of their names."""

    family: str
    names: list[str]
    points: Points
    metric: Floats | None  # [n]; None where a run did not measure it


def series(ladder: Ladder, rungs: Sequence[Rung], records: Sequence[Record]) -> list[Series]:
    """One for each family that has records."""
    by_name = {record["name"]: record for record in records}
    found: list[Series] = []
    for family in ladder.config.families:
        mine = sorted(
            (r for r in rungs if r.family == family and r.name in by_name), key=lambda r: r.name
        )
        if mine:
            found.append(_series(ladder, family, mine, by_name))
    return found


def place(rung: Rung, record: Record) -> dict[str, float]:
    """Where a finished run stands: what it was built with, counted, and saw."""
    cost, groups = record["cost"], record["cost"]["parameters"]
    depth, width = shape(configfile.check(RunConfig, record["config"]))
    return {
        "size": rung.size,
        "params": float(groups["matrix"] + groups["scalars"]),
        "history": float(rung.history),
        "events": float(record["train"]["distinct_events"]),
        "flops": float(cost["train_flops"]),
        "depth": float(depth),
        "width": float(width),
    }


def loss_of(ladder: Ladder, record: Record) -> float:
    """The loss that laws are fitted to. Raises ValueError where a run did not measure it."""
    return _measured(record, ladder.config.loss)


def metric_of(ladder: Ladder, record: Record) -> float | None:
    """The metric that loss is linked to."""
    try:
        return _measured(record, ladder.config.metric)
    except ValueError:
        return None


def _measured(record: Record, name: str) -> float:
    metrics: Mapping[str, Mapping[str, Any]] = record.get("metrics", {})
    for group in ("retrieval", "ranking"):
        if name in metrics.get(group, {}):
            return float(metrics[group][name])
    raise ValueError(f"{record['name']}/record.json: metrics: no {name} was measured")


def _series(
    ladder: Ladder, family: str, rungs: Sequence[Rung], by_name: Mapping[str, Record]
) -> Series:
    records = [by_name[rung.name] for rung in rungs]
    places = [place(rung, record) for rung, record in zip(rungs, records, strict=True)]
    axes = {axis: np.array([at[axis] for at in places]) for axis in places[0]}
    metric = [metric_of(ladder, record) for record in records]
    return Series(
        family,
        [rung.name for rung in rungs],
        Points(
            axes,
            np.array([loss_of(ladder, record) for record in records]),
            np.unique([rung.group for rung in rungs], return_inverse=True)[1],
        ),
        None if None in metric else np.array(metric, dtype=np.float64),
    )
