"""What scale does to behaviour, run by run."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from recscale.report.families import COLOUR, family_of
from recscale.report.figures import DASHES, FONT, GRID, INK
from recscale.report.slopes import AXES, measured, places
from recscale.types import Record

SHOWN = ("repeat_bias", "ndcg_new", "novelty")


def behaviour(records: Sequence[Record]) -> go.Figure | None:
    """Measures by the axes on which runs of one model differ; None where none does."""
    models: dict[str, list[Record]] = {}
    for record in records:
        models.setdefault(record["config"]["model"]["name"], []).append(record)
    axes = [axis for axis in AXES if any(_spread(runs, axis) for runs in models.values())]
    shown = [name for name in SHOWN if any(measured(run, name) is not None for run in records)]
    if not axes or not shown:
        return None
    figure = make_subplots(
        rows=len(shown), cols=len(axes), shared_xaxes=True, vertical_spacing=0.05
    )
    for column, axis in enumerate(axes, start=1):
        for row, measure in enumerate(shown, start=1):
            for dash, (model, runs) in enumerate(models.items()):
                trace = _trace(model, runs, axis, measure, DASHES[dash % len(DASHES)])
                trace.showlegend = row == column == 1
                figure.add_trace(trace, row=row, col=column)
            figure.update_yaxes(title=measure, row=row, col=1)
        figure.update_xaxes(title=f"{axis} (log)", row=len(shown), col=column)
    figure.update_xaxes(type="log", gridcolor=GRID)
    figure.update_yaxes(gridcolor=GRID, automargin=True)
    figure.update_layout(
        template="plotly_white", font={"family": FONT, "size": 13, "color": INK},
        height=120 + 200 * len(shown), legend={"orientation": "h", "y": -0.12},
    )  # fmt: skip
    return figure


def _spread(runs: Sequence[Record], axis: str) -> bool:
    return len({places(run).get(axis) for run in runs} - {None}) > 1


def _trace(model: str, runs: Sequence[Record], axis: str, measure: str, dash: str) -> go.Scatter:
    points = sorted(
        (place[axis], value)
        for run in runs
        if axis in (place := places(run)) and (value := measured(run, measure)) is not None
    )
    colour = COLOUR[family_of(runs[0]["config"])]
    return go.Scatter(
        x=[x for x, _ in points],
        y=[y for _, y in points],
        mode="markers+lines",
        marker={"size": 7, "color": colour},
        line={"color": colour, "dash": dash, "width": 1},
        name=model,
        legendgroup=model,
    )
