"""What the numbers say of the pair, written by rule: every sentence has a condition, none a hope.

A difference counts when its interval excludes zero, over users and, where both sides have several
seeds, over seeds. Intervals over users are widened for the number of pairs that were tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import Literal

from recscale.evaluation import bootstrap
from recscale.evaluation.bootstrap import Interval
from recscale.report.differences import Table, welch
from recscale.report.families import SINGLE, TWINS
from recscale.report.groups import HEADLINE, Group

METRICS = ("ndcg@10", "auc", "gauc")
Outcome = Literal["ahead", "behind", "level"]
FLOPS = {"per request": "cost.flops_per_request", "in training": "cost.train_flops"}


def paragraphs(groups: Sequence[Group], table: Table) -> list[str]:
    """One for each metric that pairs and single models were both measured by; else nothing."""
    return [text for metric in METRICS if (text := _paragraph(metric, groups, table))]


def _paragraph(metric: str, groups: Sequence[Group], table: Table) -> str:
    found = [group for group in groups if group.name in table.get(metric, {})]
    pairs = [group for group in found if group.family == "together"]
    singles = [group for group in found if group.family in SINGLE]
    twins = [group for group in found if group.family == TWINS]
    if not pairs or not singles:
        return ""
    pair, single = best(pairs, metric, table), best(singles, metric, table)
    twin = best(twins, metric, table) if twins else None
    told = [_against_single(metric, pair, single, table, len(pairs))]
    told.append(_against_twins(metric, pair, twin, table, len(pairs)))
    told.append(_cost(pair, single))
    if len(pairs) > 1:
        told.append(f"It is the best of {len(pairs)} pairs, and intervals are widened for that.")
    return " ".join(text for text in told if text)


def best(groups: Sequence[Group], metric: str, table: Table) -> Group:
    """The highest by the mean over seeds: higher is better in all that is resampled."""
    return max(groups, key=lambda group: table[metric][group.name].value)


def compared(
    metric: str, a: Group, b: Group, table: Table, tried: int = 1
) -> tuple[Outcome, Interval]:
    """How a stands to b, and by how much."""
    found = table[metric]
    gap = bootstrap.difference(found[a.name], found[b.name], level=1 - 0.05 / tried)
    column = next(column for column in HEADLINE if column.title == metric)
    x, y = a.spread(column.key), b.spread(column.key)
    assert x is not None
    assert y is not None
    one_seed = x.sd is None or y.sd is None
    beyond = one_seed or abs(x.mean - y.mean) > welch(x, y)
    if gap.low > 0 and beyond:
        return "ahead", gap
    if gap.high < 0 and beyond:
        return "behind", gap
    return "level", gap


def _against_single(metric: str, pair: Group, single: Group, table: Table, tried: int) -> str:
    outcome, gap = compared(metric, pair, single, table, tried)
    match outcome:
        case "ahead":
            return (
                f"On {metric} the pair won: {pair.name} is {_gap(gap)} above {single.name}, the "
                "best single model."
            )
        case "behind":
            return (
                f"On {metric} the pair lost: {pair.name} is {_gap(gap)} from {single.name}, the "
                "best single model."
            )
        case "level":
            return (
                f"On {metric} the pair did not win: {pair.name} is {_gap(gap)} from {single.name}, "
                "the best single model, which is within noise."
            )


def _against_twins(metric: str, pair: Group, twin: Group | None, table: Table, tried: int) -> str:
    if twin is None:
        return "No two models of one family were combined: whether it takes two kinds is open."
    outcome, gap = compared(metric, pair, twin, table, tried)
    match outcome:
        case "ahead":
            return (
                f"It is {_gap(gap)} above {twin.name}, the best of two models of one family: what "
                "it has is more than a second opinion."
            )
        case "behind":
            return f"Two models of one family do better: it is {_gap(gap)} from {twin.name}."
        case "level":
            return (
                f"Two models of one family do as well: it is {_gap(gap)} from {twin.name}, within "
                "noise, so nothing here is owed to their being of two kinds."
            )


def _cost(pair: Group, single: Group) -> str:
    times = {
        name: mean(pair.values(key)) / mean(single.values(key))
        for name, key in FLOPS.items()
        if pair.values(key) and single.values(key) and mean(single.values(key))
    }
    if not times:
        return ""
    return (
        "It takes " + " and ".join(f"{t:.1f} times the FLOPs {n}" for n, t in times.items()) + "."
    )


def _gap(gap: Interval) -> str:
    signed = [f"{value:+.4f}".replace("-", "\u2212") for value in (gap.mean, gap.low, gap.high)]
    return f"{signed[0]} [{signed[1]}, {signed[2]}]"
