"""Who gains: a metric by what is known of each held-out event, in thirds of the events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recscale.evaluation import bootstrap, metrics, predictions
from recscale.evaluation.bootstrap import Interval, Resampled
from recscale.evaluation.context import Context
from recscale.evaluation.metrics import Bools, Floats
from recscale.evaluation.predictions import Retrieval
from recscale.report.groups import Group

CUT = 10  # of ndcg
FEWEST = 30  # events of a slice that is shown


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of the held-out events, and ndcg@10 on them: group -> replicates over users."""

    title: str
    events: int
    found: Mapping[str, Resampled]


def slices(groups: Sequence[Group], folders: Mapping[str, Path]) -> list[Slice]:
    """Of every group whose runs all left predictions with their context; else nothing."""
    runs = {group.name: _runs(group, folders) for group in groups}
    runs = {name: found for name, found in runs.items() if found}
    if not runs:
        return []
    about = next(iter(runs.values()))[0][1]
    user = next(iter(runs.values()))[0][0].user
    return [
        Slice(title, int(chosen.sum()), {name: _mean(run, chosen) for name, run in runs.items()})
        for title, chosen in masks(about)
        if chosen.sum() >= FEWEST and np.unique(user[chosen]).size > 1
    ]


def gaps(part: Slice, pair: str, single: str) -> Interval | None:
    """How much higher one group is than another on a slice."""
    if pair not in part.found or single not in part.found:
        return None
    return bootstrap.difference(part.found[pair], part.found[single])


def masks(about: Context) -> Iterator[tuple[str, Bools]]:
    """Title and members [R] of each slice."""
    yield from _thirds("history", about.length.astype(float), "events")
    yield from _thirds("item age", about.age, "days")
    yield "item not in training", np.isnan(about.age)
    yield from _thirds("user's training events", about.activity.astype(float), "")
    yield "transition in training", about.memorised
    yield "transition not in training", ~about.memorised


def _thirds(name: str, values: Floats, unit: str) -> Iterator[tuple[str, Bools]]:
    """Three slices of about as many events; fewer where values tie across an edge."""
    known = values[~np.isnan(values)]
    if not known.size:
        return
    low, high = np.quantile(known, [1 / 3, 2 / 3], method="inverted_cdf")
    unit = f" {unit}".rstrip()
    if low < known.max():
        yield f"{name} to {low:.3g}{unit}", values <= low
    if low < high < known.max():
        yield f"{name} {low:.3g} to {high:.3g}{unit}", (values > low) & (values <= high)
    edge = high if high < known.max() else low
    if edge < known.max():
        yield f"{name} over {edge:.3g}{unit}", values > edge


def _runs(group: Group, folders: Mapping[str, Path]) -> list[tuple[Retrieval, Context]]:
    found: list[tuple[Retrieval, Context]] = []
    for record in group.records:
        folder = folders.get(record["name"])
        if folder is None or not (folder / predictions.FILE).exists():
            return []
        said = predictions.load(folder)
        if said.retrieval is None or said.context is None:
            return []
        found.append((said.retrieval, said.context))
    return found


def _mean(runs: Sequence[tuple[Retrieval, Context]], chosen: Bools) -> Resampled:
    return bootstrap.average(
        [
            bootstrap.mean(said.user[chosen], metrics.ndcg(said.rank[chosen], CUT))
            for said, _ in runs
        ]
    )
