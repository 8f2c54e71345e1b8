"""The part of the page on forgetting: what `recscale forgetting` put into the records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from recscale.report.figures import panelled
from recscale.report.groups import Group, get

KEY = "metrics.behaviour.forgetting"
UNITS = (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0), ("s", 1.0))
NOTE = (
    "Left: the log, as the share of users not yet back at what they met; the dashed line is the "
    "family that says most of late waits. Middle: the model's own curve, what is left of its boost "
    "of things like the last event as the clock moves on and the history stays. Right: how much "
    "the scores change when one event of that age is left out."
)
HEADS = ("run", "log half-life", "best family", "model half-life", "kernel half-life",
         "calibration error", "if flat", "effective history")  # fmt: skip
Found = Mapping[str, Any]


def table(groups: Sequence[Group]) -> str:
    """One row for each model that was measured; nothing without any."""
    rows = [_row(name, found) for name, found in _measured(groups)]
    if not rows:
        return ""
    head = "".join(f"<th>{title}</th>" for title in HEADS)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def figure(groups: Sequence[Group]) -> go.Figure | None:
    """Three panels over age; None where nothing was measured."""
    measured = _measured(groups)
    if not measured:
        return None
    drawn = panelled(["not back yet", "model's boost", "influence, nats"])
    _log_panel(drawn, measured[0][1])
    for name, found in measured:
        clock, influence = found.get("clock"), found.get("influence")
        if clock:
            _add(drawn, 2, clock["lag"], clock["boost"], name)
        if influence:
            _add(drawn, 3, influence["age"], influence["nats_by_age"], name)
    drawn.update_xaxes(type="log", title="age, seconds")
    drawn.update_layout(height=430, legend={"orientation": "h", "y": -0.25})
    return drawn


def duration(seconds: float | None) -> str:
    """5400 -> 1.5 h; a dash where there is none."""
    if seconds is None:
        return "–"
    for unit, size in UNITS:
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.2g} s"


def _measured(groups: Sequence[Group]) -> list[tuple[str, Found]]:
    """Name and document of the first run of each group that has one."""
    found = {group.name: [get(run, KEY) for run in group.records] for group in groups}
    known = {name: [document for document in all_ if document] for name, all_ in found.items()}
    return [(name, documents[0]) for name, documents in known.items() if documents]


def _row(name: str, found: Found) -> list[str]:
    families = found.get("families") or [{}]
    error, flat = get(found, "calibration.error"), get(found, "calibration.error_if_flat")
    length = found.get("effective_history")
    return [
        escape(name),
        duration(get(found, "log.all.half_life")) + _interval(get(found, "log.all.half_life_95")),
        str(families[0].get("family", "–")),
        duration(get(found, "clock.half_life")),
        duration(get(found, "kernel.half_life")),
        "–" if error is None else f"{error:.3f}",
        "–" if flat is None else f"{flat:.3f}",
        "–" if length is None else f"{length:.1f}",
    ]


def _interval(limits: Sequence[float] | None) -> str:
    return "" if limits is None else f" [{duration(limits[0])}, {duration(limits[1])}]"


def _log_panel(drawn: go.Figure, found: Found) -> None:
    curve, families = get(found, "log.all.curve"), found.get("families")
    if curve:
        _add(drawn, 1, curve["age"], curve["value"], "log")
    if families:
        best = families[0]
        _add(drawn, 1, best["curve"]["age"], best["curve"]["value"], best["family"], dash="dash")


def _add(
    drawn: go.Figure,
    place: int,
    ages: Sequence[float],
    values: Sequence[float],
    name: str,
    dash: str = "solid",
) -> None:
    points = [(age, value) for age, value in zip(ages, values, strict=True) if age > 0]
    line = go.Scatter(
        x=[age for age, _ in points],
        y=[value for _, value in points],
        mode="lines",
        line={"dash": dash},
        name=name,
        legendgroup=name,
        showlegend=place < 3,
    )
    drawn.add_trace(line, row=1, col=place)
