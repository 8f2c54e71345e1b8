"""Is the best really better? Paired over users where predictions are there, and over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from scipy.stats import t as student

from recscale.evaluation import bootstrap, metrics, predictions
from recscale.evaluation.bootstrap import Interval, Resampled, Spread
from recscale.evaluation.predictions import Predictions
from recscale.report.groups import Column, Group, group
from recscale.types import Record

Table = Mapping[str, Mapping[str, Resampled]]  # metric -> group -> its replicates


def resample(groups: Sequence[Group], folders: Mapping[str, Path]) -> Table:
    """The bootstrap replicates of every group whose runs all left predictions.

    Raises ValueError where two runs predicted different events: they cannot be paired.
    """
    table: dict[str, dict[str, Resampled]] = {}
    first: tuple[str, Predictions] | None = None
    for found in groups:
        names = [record["name"] for record in found.records]
        paths = [folders[name] for name in names if name in folders]
        if len(paths) < len(names) or not all((p / predictions.FILE).exists() for p in paths):
            continue
        runs = [predictions.load(path) for path in paths]
        for name, run in zip(names, runs, strict=True):
            first = first or (name, run)
            _refuse_other_events(first, (name, run))
        for metric, parts in _statistics(runs).items():
            table.setdefault(metric, {})[found.name] = bootstrap.average(parts)
    return table


def to_best(metric: str, table: Table) -> dict[str, Interval]:
    """Group -> how far it is from the best one; the best itself is left out.

    Of every metric that is resampled, higher is better.
    """
    found = table.get(metric, {})
    best = max(found, key=lambda name: found[name].value, default=None)
    return {
        name: bootstrap.difference(resampled, found[best])
        for name, resampled in found.items()
        if best is not None and name != best
    }


def document(
    records: Sequence[Record], folders: Mapping[str, Path]
) -> dict[str, dict[str, dict[str, float]]]:
    """Metric -> group -> mean, low, high and p of its distance to the best group, for JSON."""
    table = resample(group(records), folders)
    return {
        metric: {name: asdict(gap) for name, gap in to_best(metric, table).items()}
        for metric in table
    }


def ordered(groups: Sequence[Group], column: Column) -> list[Group]:
    """The groups that have a metric, best first."""
    measured = [(g, spread.mean) for g in groups if (spread := g.spread(column.key))]
    return [
        g for g, _ in sorted(measured, key=lambda pair: pair[1], reverse=column.better == "higher")
    ]


def is_clear(groups: Sequence[Group], column: Column, table: Table) -> bool:
    """The best differs from the second by more than the noise, by every test that can be made.

    Two tests: over seeds, where both have several, and paired over users. One at least must be.
    """
    best, second = ordered(groups, column)[:2]
    found = table.get(column.title, {})
    answers: list[bool] = []
    if best.name in found and second.name in found:
        gap = bootstrap.difference(found[best.name], found[second.name])
        answers.append(gap.low > 0 or gap.high < 0)
    a, b = best.spread(column.key), second.spread(column.key)
    assert a is not None
    assert b is not None
    if a.sd is not None and b.sd is not None:
        answers.append(abs(a.mean - b.mean) > welch(a, b))
    return bool(answers) and all(answers)


def welch(a: Spread, b: Spread) -> float:
    """Half the 95 % interval of a difference of means, unequal variances (Welch 1947)."""
    assert a.sd is not None
    assert b.sd is not None
    x, y = a.sd**2 / a.n, b.sd**2 / b.n
    if x + y == 0:
        return 0.0
    degrees = (x + y) ** 2 / (x**2 / (a.n - 1) + y**2 / (b.n - 1))
    return float(student.ppf(0.975, degrees) * np.sqrt(x + y))


def _statistics(runs: Sequence[Predictions]) -> dict[str, list[Resampled]]:
    """Metric -> its replicates, a seed each; a metric that the events leave undefined is absent."""
    found: dict[str, list[Resampled]] = {}
    for run in runs:
        retrieval, ranking = run.retrieval, run.ranking
        if retrieval is not None and np.unique(retrieval.user).size > 1:
            for name, values in metrics.per_target(retrieval.rank).items():
                found.setdefault(name, []).append(bootstrap.mean(retrieval.user, values))
        if ranking is not None and np.unique(ranking.user).size > 1:
            rows = (ranking.user, ranking.label, ranking.score)
            for name, statistic in (("auc", bootstrap.auc), ("gauc", bootstrap.gauc)):
                if name in ranking.metrics:
                    found.setdefault(name, []).append(statistic(*rows))
    return found


def _refuse_other_events(first: tuple[str, Predictions], other: tuple[str, Predictions]) -> None:
    for a, b, arrays in (
        (first[1].retrieval, other[1].retrieval, ("user", "target")),
        (first[1].ranking, other[1].ranking, ("user", "label")),
    ):
        if a is None or b is None:
            continue
        if not all(np.array_equal(getattr(a, name), getattr(b, name)) for name in arrays):
            raise ValueError(
                f"not comparable: {first[0]} and {other[0]} predicted different events; "
                "evaluate both again"
            )
