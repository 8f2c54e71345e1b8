"""The figures of a ladder's page. None where the runs do not hold what a figure needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from recscale.report.advice import Choice, front
from recscale.report.figures import FONT, GRID, INK, draw_budget
from recscale.scaling.results import PUBLISHED

COLOURS = ("#0072B2", "#D55E00", "#8E4A9E", "#009E73", "#CC79A7", "#56B4E9")
PREDICTED = "#111827"


def valleys(told: Mapping[str, Any]) -> go.Figure | None:
    """Loss over size at equal compute, one colour a budget, and the bottoms."""
    found = {f: d for f, d in told["families"].items() if "isoflop" in d}
    if not found:
        return None
    figure = _panels(list(found))
    for place, data in enumerate(found.values(), start=1):
        _scatter(figure, place, data["points"], "params", "flops", "train flops")
        iso = data["isoflop"]
        _add(figure, place, iso["sizes"], iso["losses"], "bottoms", PREDICTED, mode="lines+markers")
    figure.update_xaxes(type="log", title="dense parameters")
    return figure


def allocation(told: Mapping[str, Any]) -> go.Figure | None:
    """The best size over compute, with the slopes of Kaplan and Chinchilla through its middle."""
    found = {f: d["isoflop"] for f, d in told["families"].items() if "isoflop" in d}
    if not found:
        return None
    figure = _panels(list(found))
    for place, iso in enumerate(found.values(), start=1):
        budgets, sizes = iso["budgets"], iso["sizes"]
        middle = len(budgets) // 2
        _add(figure, place, budgets, sizes, "ours", COLOURS[0], mode="lines+markers")
        for i, (name, slope) in enumerate(PUBLISHED.items(), start=1):
            line = [sizes[middle] * (b / budgets[middle]) ** slope for b in budgets]
            _add(figure, place, budgets, line, name, COLOURS[i], mode="lines")
    figure.update_xaxes(type="log", title="train flops")
    figure.update_yaxes(type="log", title="best size")
    return figure


def forecast(told: Mapping[str, Any], said: Mapping[str, Any] | None) -> go.Figure | None:
    """Loss over size, a colour a history; what was predicted with its interval, and what came."""
    if not said or not said["rungs"]:
        return None
    families = list(told["families"])
    figure = _panels(families)
    for place, family in enumerate(families, start=1):
        _scatter(figure, place, told["families"][family]["points"], "params", "history", "history")
        for rung, guess in said["rungs"].items():
            if guess["family"] != family:
                continue
            x, interval = guess["place"]["params"], guess["loss"].get("additive power")
            score = told.get("scorecard", {}).get(rung)
            if interval:
                _interval(figure, place, x, interval)
            if score:
                _add(figure, place, [x], [score["realised"]], "realised", "#b91c1c", size=11)
    figure.update_xaxes(type="log", title="dense parameters")
    figure.update_yaxes(title=told["loss"])
    return figure


def shootout(told: Mapping[str, Any]) -> go.Figure | None:
    """The absolute relative error of each rival on each held-out rung."""
    scores = told.get("scorecard")
    if not scores:
        return None
    figure = _panels([""])
    for i, (rung, score) in enumerate(scores.items()):
        laws = score["laws"]
        errors = [100 * abs(found["relative_error"]) for found in laws.values()]
        bar = go.Bar(x=list(laws), y=errors, name=rung, marker_color=COLOURS[i % len(COLOURS)])
        figure.add_trace(bar)
    figure.update_yaxes(title="|error|, % of the realised loss")
    return figure


def link(found: Sequence[Choice], metric: str, loss: str) -> go.Figure | None:
    """Metric over loss, a point a rung."""
    measured = [choice for choice in found if choice.metric is not None]
    if not measured:
        return None
    figure = _panels([""])
    for i, family in enumerate(dict.fromkeys(c.family for c in measured)):
        mine = [c for c in measured if c.family == family]
        _named(figure, 1, [c.loss for c in mine], [c.metric for c in mine], mine, i)
    figure.update_xaxes(title=loss)
    figure.update_yaxes(title=metric)
    return figure


def surface(told: Mapping[str, Any]) -> go.Figure | None:
    """Loss by size and history; the mean over seeds."""
    families = {
        family: found
        for family, found in told["families"].items()
        if all(len({point[axis] for point in found["points"]}) > 1 for axis in ("history", "size"))
    }
    if not families:
        return None
    figure = _panels(list(families))
    for place, data in enumerate(families.values(), start=1):
        cells: dict[tuple[float, float], list[float]] = {}
        for point in data["points"]:
            cells.setdefault((point["history"], point["size"]), []).append(point["loss"])
        histories, sizes = (sorted({key[i] for key in cells}) for i in (0, 1))
        z = [[_mean(cells.get((h, s))) for s in sizes] for h in histories]
        figure.add_trace(
            go.Heatmap(
                x=[f"{s:g}" for s in sizes],
                y=[f"{h:g}" for h in histories],
                z=z,
                colorscale="Viridis",
                showscale=place == len(families),
                coloraxis="coloraxis",
            ),
            row=1,
            col=place,
        )
    figure.update_xaxes(title="size")
    figure.update_yaxes(title="history", type="category")
    figure.update_layout(coloraxis={"colorscale": "Viridis"})
    return figure


def data(told: Mapping[str, Any]) -> go.Figure | None:
    """Loss over distinct training events, a colour a size; None where no ladder varies them."""
    found = {f: d for f, d in told["families"].items() if "events" in d["trends"]}
    if not found:
        return None
    figure = _panels(list(found))
    for place, one in enumerate(found.values(), start=1):
        _scatter(figure, place, one["points"], "events", "size", "size")
    figure.update_xaxes(type="log", title="distinct training events")
    return figure


def frontier(found: Sequence[Choice], budget_ms: float, loss: str) -> go.Figure | None:
    """Loss over training compute, latency and price; the line is what nothing cheaper beats."""
    costs = [
        (name, title)
        for name, title in (
            ("train_flops", "train flops"),
            ("p99_ms", "p99, ms"),
            ("price", "price of 1,000 requests"),
        )
        if any(getattr(choice, name) is not None for choice in found)
    ]
    if not costs:
        return None
    figure = _panels([title for _, title in costs])
    for place, (cost, _) in enumerate(costs, start=1):
        for i, family in enumerate(dict.fromkeys(c.family for c in found)):
            mine = [c for c in found if c.family == family and getattr(c, cost) is not None]
            xs = [getattr(c, cost) for c in mine]
            _named(figure, place, xs, [c.loss for c in mine], mine, i, legend=place == 1)
        kept = front(found, cost)
        xs = [getattr(c, cost) for c in kept]
        _add(figure, place, xs, [c.loss for c in kept], "front", PREDICTED, mode="lines")
        if cost == "p99_ms":
            draw_budget(figure, budget_ms, place)
    figure.update_xaxes(type="log")
    figure.update_yaxes(title=loss, col=1)
    return figure


def _panels(titles: list[str]) -> go.Figure:
    figure = make_subplots(rows=1, cols=len(titles), subplot_titles=titles, horizontal_spacing=0.09)
    figure.update_layout(
        template="plotly_white",
        font={"family": FONT, "size": 13, "color": INK},
        margin={"l": 10, "r": 20, "t": 40, "b": 40},
        height=420,
        legend={"orientation": "h", "y": -0.25},
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False, automargin=True)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, automargin=True)
    return figure


def _scatter(  # noqa: PLR0913, one argument for each thing that is drawn
    figure: go.Figure,
    place: int,
    points: Sequence[Mapping[str, Any]],
    x: str,
    colour: str,
    title: str,
) -> None:
    for i, level in enumerate(sorted({point[colour] for point in points})):
        mine = [point for point in points if point[colour] == level]
        name = f"{title} {level:.3g}"
        shade = COLOURS[i % len(COLOURS)]
        xs, ys = [point[x] for point in mine], [point["loss"] for point in mine]
        _add(figure, place, xs, ys, name, shade, legend=place == 1)


def _named(  # noqa: PLR0913, as above
    figure: go.Figure, place: int, x: list[float], y: list[Any],
    mine: Sequence[Choice], colour: int, *, legend: bool = True,
) -> None:  # fmt: skip
    figure.add_trace(
        go.Scatter(
            x=x,
            y=y,
            mode="markers",
            name=mine[0].family if mine else "",
            text=[choice.name for choice in mine],
            hovertemplate="%{text}<br>%{x:.4g}, %{y:.4f}<extra></extra>",
            marker={"size": 9, "color": COLOURS[colour % len(COLOURS)]},
            showlegend=legend,
        ),
        row=1,
        col=place,
    )


def _interval(figure: go.Figure, place: int, x: float, interval: Mapping[str, Any]) -> None:
    value = interval["value"]
    up = None if interval["high"] is None else interval["high"] - value
    down = None if interval["low"] is None else value - interval["low"]
    bars = {"type": "data", "symmetric": False, "array": [up or 0], "arrayminus": [down or 0]}
    trace = go.Scatter(
        x=[x], y=[value], error_y=bars, mode="markers", name="predicted, 95 %",
        marker={"symbol": "diamond", "size": 9, "color": PREDICTED},
    )  # fmt: skip
    figure.add_trace(trace, row=1, col=place)


def _add(  # noqa: PLR0913, as above
    figure: go.Figure, place: int, x: list[float], y: list[float], name: str, colour: str,
    *, mode: str = "markers", size: int = 8, legend: bool = True,
) -> None:  # fmt: skip
    trace = go.Scatter(
        x=x, y=y, mode=mode, name=name, showlegend=legend, line={"color": colour},
        marker={"size": size, "color": colour},
    )  # fmt: skip
    figure.add_trace(trace, row=1, col=place)


def _mean(values: list[float] | None) -> float | None:
    return sum(values) / len(values) if values else None
