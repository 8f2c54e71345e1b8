"""The sections of a page that are about combinations: findings, equal cost, slices, slopes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from recscale.evaluation.bootstrap import Interval
from recscale.report import budgets, findings, slices, slopes
from recscale.report.budgets import Rival
from recscale.report.differences import Table, resample
from recscale.report.families import SINGLE
from recscale.report.groups import Group, group
from recscale.report.slices import Slice
from recscale.report.tables import ABSENT, grid, signed
from recscale.types import Record


def document(records: Sequence[Record], folders: Mapping[str, Path]) -> dict[str, list[Any]]:
    """The findings, and the slopes of behaviour against scale, for JSON."""
    groups = group(records)
    told = findings.paragraphs(groups, resample(groups, folders))
    return {"findings": told, "slopes": [asdict(row) for row in slopes.slopes(records)]}


def found(groups: Sequence[Group], table: Table) -> str:
    """The findings as paragraphs."""
    return "".join(f"<p>{escape(text)}</p>" for text in findings.paragraphs(groups, table))


def equal_cost(groups: Sequence[Group], table: Table) -> str:
    """Each combination against single models of its cost; a table a metric."""
    return "".join(_equal_cost(metric, groups, table) for metric in findings.METRICS)


def sliced(groups: Sequence[Group], folders: Mapping[str, Path], table: Table) -> str:
    """ndcg@10 by slice; combinations also as their distance to the best single model."""
    parts = slices.slices(groups, folders)
    shown = [group for group in groups if parts and group.name in parts[0].found]
    singles = [group for group in shown if group.family in SINGLE]
    if not shown or not singles or "ndcg@10" not in table:
        return ""
    single = findings.best(singles, "ndcg@10", table)
    heads = [f"{escape(part.title)}<small>{part.events:,} events</small>" for part in parts]
    return grid(shown, heads, [[_on(part, g, single) for g in shown] for part in parts])


def scaled(records: Sequence[Record]) -> str:
    """Slopes of behaviour against the logarithm of size, history and data."""
    rows = slopes.slopes(records)
    if not rows:
        return ""
    heads = ("model", "measure", "against ln", "slope", "95 % interval", "runs")
    lines = [
        f"<tr><th>{escape(row.model)}</th><td>{row.measure}</td><td>{row.axis}</td>"
        f"<td>{signed(row.value)}</td><td>[{signed(row.low)}, {signed(row.high)}]</td>"
        f"<td>{row.runs}</td></tr>"
        for row in rows
    ]
    titles = "".join(f"<th>{head}</th>" for head in heads)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _equal_cost(metric: str, groups: Sequence[Group], table: Table) -> str:
    pairs = budgets.combined(groups, metric, table)
    if not pairs:
        return ""
    rivals = [budgets.rivals(pair, groups, metric, table) for pair in pairs]
    columns = [[_rival(found.get(kind)) for found in rivals] for kind in budgets.KEYS]
    heads = [f"{metric} at its {kind}" for kind in budgets.KEYS]
    return grid(pairs, heads, columns)


def _rival(rival: Rival | None) -> str:
    if rival is None:
        return f"<td>{ABSENT}</td>"
    return (
        f"<td>{_interval(rival.gap)}<small>from {escape(rival.name)}, at "
        f"{rival.cost:.2f} of its cost</small></td>"
    )


def _on(part: Slice, group: Group, single: Group) -> str:
    value = f"{part.found[group.name].value:.4f}"
    gap = slices.gaps(part, group.name, single.name)
    if group.family in SINGLE or gap is None:
        return f"<td>{value}</td>"
    return f"<td>{value}<small>{_interval(gap)}</small></td>"


def _interval(gap: Interval) -> str:
    return f"{signed(gap.mean)} [{signed(gap.low)}, {signed(gap.high)}]"
