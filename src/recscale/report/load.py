"""Quality against latency under load: size, history, family, and what is kept of users."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from recscale.report import figures
from recscale.report.families import COLOUR
from recscale.report.groups import HEADLINE, Column, Group, get, present
from recscale.types import Record

SYMBOL = {"kept": "circle", "anew": "x"}
EXACT = {"window": "newest", "precision": "float32"}  # with these, served scores are offline ones


@dataclass(frozen=True, slots=True)
class Trial:
    """One run under one load."""

    group: Group
    record: Record
    measured: Mapping[str, Any]

    @property
    def about(self) -> str:
        """What a reader may want to know of a point."""
        model, found = self.record["config"]["model"], self.measured
        size = get(self.record, "cost.dense_params")
        return "<br>".join(
            [
                self.record["name"],
                f"{model['name']}, {size:,} dense parameters" if size else model["name"],
                f"history {found['history']}, {found['candidates']} candidates",
                f"{found['rate_rps']:g} requests a second, states {found['states']}",
            ]
        )


def frontier(groups: Sequence[Group]) -> go.Figure | None:
    """One panel for each headline metric; the line joins what nothing beats in both ways."""
    trials = list(_trials(groups))
    columns = [c for c in present(groups, HEADLINE) if c.title in figures.PANELS]
    columns = [c for c in columns if any(get(t.record, c.key) is not None for t in trials)]
    if not columns:
        return None
    figure = figures.panelled([f"{column.title} against p99" for column in columns])
    for place, column in enumerate(columns, start=1):
        _draw(figure, trials, column, place)
    figure.update_xaxes(type="log", title="p99 latency under load, ms (log)")
    figure.update_layout(height=430, showlegend=False)
    return figure


def best(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """(latency, quality) that no other point beats or equals in both, by latency."""
    kept: list[tuple[float, float]] = []
    for latency, quality in sorted(points, key=lambda point: (point[0], -point[1])):
        if not kept or quality > kept[-1][1]:
            kept.append((latency, quality))
    return kept


def _trials(groups: Sequence[Group]) -> Iterator[Trial]:
    for group in groups:
        for record in group.records:
            for measured in record.get("load", {}).get("trials", []):
                if all(measured[key] == value for key, value in EXACT.items()):
                    yield Trial(group, record, measured)


def _draw(figure: go.Figure, trials: Sequence[Trial], column: Column, place: int) -> None:
    drawn = [(t, get(t.record, column.key)) for t in trials]
    drawn = [(trial, quality) for trial, quality in drawn if quality is not None]
    line = best([(trial.measured["p99_ms"], quality) for trial, quality in drawn])
    figure.add_trace(
        go.Scatter(
            x=[latency for latency, _ in line],
            y=[quality for _, quality in line],
            mode="lines",
            line={"color": figures.INK, "width": 1, "shape": "hv"},
            hoverinfo="skip",
        ),
        row=1,
        col=place,
    )
    for trial, quality in drawn:
        figure.add_trace(
            go.Scatter(
                x=[trial.measured["p99_ms"]],
                y=[quality],
                mode="markers",
                marker={
                    "size": 10,
                    "color": COLOUR[trial.group.family],
                    "symbol": SYMBOL[trial.measured["states"]],
                },
                hovertemplate=f"{trial.about}<br>%{{x:.2f}} ms<br>%{{y:.4f}}<extra></extra>",
            ),
            row=1,
            col=place,
        )
