"""The plots of a page."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from recscale.report.families import COLOUR
from recscale.report.groups import HEADLINE, Column, Group, present
from recscale.types import Record

INK, GRID = "#1f2933", "#e4e7eb"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
DASHES = ("solid", "dash", "dot", "dashdot")
P99 = "latency.p99_ms"
MILLISECONDS = [digit * 10.0**power for power in range(-3, 5) for digit in (1, 2, 5)]
PANELS = ("ndcg@10", "hr@10", "auc", "gauc")


@dataclass(frozen=True, slots=True)
class Curve:
    """The training curve of one run: events trained on, and what was measured there."""

    record: Record
    events: list[float]
    loss: list[float]
    metric: str
    values: list[float]


def quality(groups: Sequence[Group]) -> go.Figure | None:
    """Each metric by model: mean, deviation over seeds, and every seed as a tick."""
    columns = _panels(groups, PANELS)
    if not columns:
        return None
    figure = panelled([column.title for column in columns], shared_yaxes=True)
    for place, column in enumerate(columns, start=1):
        for found in reversed(groups):
            spread, values = found.spread(column.key), found.values(column.key)
            if spread is None:
                continue
            where: dict[str, Any] = {"row": 1, "col": place}
            colour = COLOUR[found.family]
            if len(values) > 1:
                figure.add_trace(_seeds(values, [found.name] * len(values), colour), **where)
            error = None if spread.sd is None else {"array": [spread.sd], "thickness": 1.5}
            figure.add_trace(
                go.Scatter(
                    x=[spread.mean],
                    y=[found.name],
                    error_x=error,
                    mode="markers",
                    marker={"size": 11, "color": colour},
                    hovertemplate=f"{found.name}<br>{column.title} %{{x:.4f}}<extra></extra>",
                ),
                **where,
            )
    figure.update_layout(height=150 + 38 * len(groups), showlegend=False)
    figure.update_xaxes(nticks=5)
    return figure


def frontier(groups: Sequence[Group]) -> go.Figure | None:
    """Quality against the 99th percentile of latency, and the budget."""
    timed = [found for found in groups if found.values(P99)]
    columns = _panels(timed, ("ndcg@10", "auc"))
    if not columns:
        return None
    budgets = sorted({budget for found in timed for budget in found.values("latency.budget_ms")})
    figure = panelled([f"{column.title} against p99" for column in columns])
    for place, column in enumerate(columns, start=1):
        measured = [found for found in timed if found.values(column.key)]
        for found in measured:
            side = _free_side(found, measured, column)
            figure.add_trace(_point(found, column, side), row=1, col=place)
        for budget in budgets:
            draw_budget(figure, budget, place)
    milliseconds = [ms for found in timed for ms in found.values(P99)] + budgets
    # Room for names beside the outermost points: a third of a factor of ten.
    span = [math.log10(min(milliseconds)) - 0.33, math.log10(max(milliseconds)) + 0.33]
    figure.update_xaxes(
        type="log", range=span, tickvals=MILLISECONDS, title="p99 latency, ms (log)"
    )
    figure.update_layout(height=430, showlegend=False)
    return figure


def training(groups: Sequence[Group], folders: Mapping[str, Path]) -> go.Figure | None:
    """Loss and validation metric against events trained on; a line a run, seeds alike."""
    found = {g.name: [c for r in g.records if (c := read_curve(r, folders))] for g in groups}
    curves = [curve for runs in found.values() for curve in runs]
    if not curves:
        return None
    metrics = sorted({curve.metric for curve in curves})
    figure = panelled(["training loss", f"validation {', '.join(metrics)}"])
    alike: dict[str, int] = {}  # models of one family differ by their dash
    for model in groups:
        dash = DASHES[alike.get(model.family, 0) % len(DASHES)]
        if found[model.name]:
            alike[model.family] = alike.get(model.family, 0) + 1
        line = {"color": COLOUR[model.family], "dash": dash, "width": 1.8}
        for i, curve in enumerate(found[model.name]):
            for place, values in ((1, curve.loss), (2, curve.values)):
                drawn = _line(curve.events, values, model.name, line)
                drawn.showlegend = i == 0 and place == 1
                figure.add_trace(drawn, row=1, col=place)
    figure.update_xaxes(title="events trained on", nticks=6)
    figure.update_layout(height=430, legend={"orientation": "h", "y": -0.25})
    return figure


def read_curve(record: Record, folders: Mapping[str, Path]) -> Curve | None:
    """events.csv beside a record; None where there is none. Raises ValueError when it is broken."""
    path = folders.get(record["name"], Path()) / "events.csv"
    if record["name"] not in folders or not path.exists():
        return None
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if not rows:
        return None
    metric = next(reversed(rows[0]))  # the last column, named after what is validated
    try:
        numbers = [[float(row[key]) for row in rows] for key in ("events", "loss", metric)]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: want columns events, loss and a metric ({error})") from error
    return Curve(record, numbers[0], numbers[1], metric, numbers[2])


def _panels(groups: Sequence[Group], titles: Sequence[str]) -> list[Column]:
    return [column for column in present(groups, HEADLINE) if column.title in titles]


def panelled(titles: list[str], *, shared_yaxes: bool = False) -> go.Figure:
    """Empty panels side by side, in the look of the page."""
    figure = make_subplots(
        rows=1,
        cols=len(titles),
        subplot_titles=titles,
        shared_yaxes=shared_yaxes,
        horizontal_spacing=0.03 if shared_yaxes else 0.09,
    )
    figure.update_layout(
        template="plotly_white",
        font={"family": FONT, "size": 13, "color": INK},
        margin={"l": 10, "r": 20, "t": 40, "b": 40},
        hoverlabel={"font": {"family": FONT}},
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False, automargin=True)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, automargin=True)
    return figure


def _seeds(values: list[float], names: list[str], colour: str) -> go.Scatter:
    return go.Scatter(
        x=values,
        y=names,
        mode="markers",
        marker={"symbol": "line-ns-open", "size": 16, "color": colour, "line": {"width": 1}},
        hovertemplate="seed %{x:.4f}<extra></extra>",
    )


def _line(events: list[float], values: list[float], name: str, line: dict[str, Any]) -> go.Scatter:
    return go.Scatter(
        x=events,
        y=values,
        mode="lines+markers",
        marker={"size": 4},
        line=line,
        opacity=0.75,
        name=name,
        legendgroup=name,
    )


def draw_budget(figure: go.Figure, budget: float, place: int) -> None:
    """A dashed upright line; on a logarithmic axis texts are placed by the logarithm."""
    number = "" if place == 1 else place  # plotly's name of the first axis has none
    axes = {"xref": f"x{number}", "yref": f"y{number} domain"}
    red = "#b91c1c"
    line = {"color": red, "dash": "dash", "width": 1.5}
    figure.add_shape(type="line", x0=budget, x1=budget, y0=0, y1=1, line=line, **axes)
    figure.add_annotation(
        x=math.log10(budget),
        y=0.02,
        text=f"budget {budget:g} ms",
        font={"color": red, "size": 12},
        showarrow=False,
        xanchor="right",
        xshift=-4,
        **axes,
    )


def _free_side(found: Group, others: Sequence[Group], column: Column) -> str:
    """Where a point's name does not run into its neighbour's: away from the nearest in latency."""
    place = {g.name: (math.log(mean(g.values(P99))), mean(g.values(column.key))) for g in others}
    x, y = place.pop(found.name)
    nearest = min(place.values(), key=lambda other: abs(other[0] - x), default=(x, y))
    return "top center" if y >= nearest[1] else "bottom center"


def _point(found: Group, column: Column, side: str) -> go.Scatter:
    quality_, latency = found.spread(column.key), found.spread(P99)
    assert quality_ is not None
    assert latency is not None
    return go.Scatter(
        x=[latency.mean],
        y=[quality_.mean],
        error_x=None if latency.sd is None else {"array": [latency.sd], "thickness": 1},
        error_y=None if quality_.sd is None else {"array": [quality_.sd], "thickness": 1},
        mode="markers+text",
        text=[found.name],
        textposition=side,
        cliponaxis=False,
        marker={"size": 11, "color": COLOUR[found.family]},
        hovertemplate=f"{found.name}<br>%{{x:.2f}} ms<br>%{{y:.4f}}<extra></extra>",
    )
