"""Each combination beside the best single model that costs no more than it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from recscale.evaluation import bootstrap
from recscale.evaluation.bootstrap import Interval
from recscale.report.differences import Table
from recscale.report.families import SINGLE, TWINS
from recscale.report.findings import best
from recscale.report.groups import Group

SLACK = 1.1  # a single model may cost this much more: no two costs are ever equal
KEYS = {
    "parameters": ("cost.dense_params", "cost.embedding_params"),
    "FLOPs a request": ("cost.flops_per_request",),
    "FLOPs in training": ("cost.train_flops",),
    "p99": ("latency.p99_ms",),
}


@dataclass(frozen=True, slots=True)
class Rival:
    """The best single model within a combination's cost."""

    name: str
    cost: float  # as a share of the combination's
    gap: Interval  # how much higher the combination is


def rivals(pair: Group, groups: Sequence[Group], metric: str, table: Table) -> dict[str, Rival]:
    """Kind of cost -> the best single model that pays no more; absent where there is none."""
    singles = [group for group in groups if group.family in SINGLE and group.name in table[metric]]
    found: dict[str, Rival] = {}
    for kind, keys in KEYS.items():
        spent = cost(pair, keys)
        within = [
            group
            for group in singles
            if spent and (own := cost(group, keys)) is not None and own <= SLACK * spent
        ]
        if spent and within:
            rival = best(within, metric, table)
            share = (cost(rival, keys) or 0) / spent
            gap = bootstrap.difference(table[metric][pair.name], table[metric][rival.name])
            found[kind] = Rival(rival.name, share, gap)
    return found


def combined(groups: Sequence[Group], metric: str, table: Table) -> list[Group]:
    """The combinations that were measured by a metric."""
    names = table.get(metric, {})
    return [g for g in groups if g.family in ("together", TWINS) and g.name in names]


def cost(group: Group, keys: Sequence[str]) -> float | None:
    """The sum of some costs, each the mean over seeds; None where one was not counted."""
    values = [group.values(key) for key in keys]
    return sum(map(mean, values)) if all(values) else None
