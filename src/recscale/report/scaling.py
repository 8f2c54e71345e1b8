"""The page of a ladder: laws, forecasts, fronts; every figure is there or says what it lacks."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from recscale.report import advice, scaling_figures, scaling_tables
from recscale.report.advice import Choice
from recscale.scaling.ladder import Ladder
from recscale.types import Record

FORECAST = "forecast.json"
Section = tuple[str, str, str]  # title, note, body


def write(ladder: Ladder, told: Mapping[str, Any], records: Sequence[Record], folder: Path) -> Path:
    """One page in the ladder's folder, whole; `told` is the content of laws.json."""
    out = folder / "report.html"
    sections = page(ladder, told, records, _forecast(folder))
    body = "".join(
        f'<h2>{title}</h2><p>{note}</p><div class="wide">{drawn}</div>'
        for title, note, drawn in sections
    )
    head = f"<h1>The ladder {escape(ladder.name)}</h1>"
    aside = out.with_name(f".{os.getpid()}.{out.name}")
    aside.write_text(_document(f"Ladder {ladder.name}", head + body), encoding="utf-8")
    aside.replace(out)
    return out


def markdown(ladder: Ladder, told: Mapping[str, Any], records: Sequence[Record]) -> str:
    """What a terminal shows: advice, verdicts, doublings, scorecard."""
    found = advice.choices(ladder, records)
    parts = [advice.sentence(ladder, told, found)]
    parts += [f"{family}: {data['verdict']}" for family, data in told["families"].items()]
    parts.append(scaling_tables.returns(told).markdown())
    if told.get("scorecard"):
        parts.append(scaling_tables.scorecard(told, None).markdown())
    return "\n\n".join(parts)


def page(
    ladder: Ladder,
    told: Mapping[str, Any],
    records: Sequence[Record],
    forecast: Mapping[str, Any] | None,
) -> list[Section]:
    """Every section in order."""
    found = advice.choices(ladder, records)
    return [
        ("Advice", escape(advice.sentence(ladder, told, found)), _verdicts(told)),
        *_figures(ladder, told, found, forecast),
        *_tables(ladder, told, found, records, forecast),
    ]


def _figures(
    ladder: Ladder,
    told: Mapping[str, Any],
    found: Sequence[Choice],
    forecast: Mapping[str, Any] | None,
) -> list[Section]:
    families = told["families"].items()
    why = {f"{family}: {reason}" for family, d in families for reason in d["refused"].values()}
    iso = "; ".join(sorted(reason for reason in why if "isoflop" in reason)) or "no budget"
    linked = "; ".join(sorted(reason for reason in why if "loss to metric" in reason))
    spearman = ", ".join(
        f"{f} {d['link']['spearman']:+.2f}" for f, d in told["families"].items() if "link" in d
    )
    loss, metric = ladder.config.loss, ladder.config.metric
    seal = f"Written {forecast['written']}, sha256 {forecast['sha256']}." if forecast else ""
    return [
        _figure("Loss at equal compute", "Parabolas for each budget.",
                scaling_figures.valleys(told), f"Not told: {iso}."),
        _figure("The best size for a budget", "Beside the slopes of Kaplan and Chinchilla.",
                scaling_figures.allocation(told), "Needs the valleys above."),
        _figure("Forecast of the held-out rungs", f"Made before they ran. {seal}",
                scaling_figures.forecast(told, forecast), "No rung was held out, or none yet."),
        _figure("Law against law", "Error on rungs that no law had seen.",
                scaling_figures.shootout(told), "No held-out rung has run yet."),
        _figure("From loss to metric", f"Rank correlation: {spearman or 'see below'}. "
                + (f"Refused: {linked}." if linked else ""),
                scaling_figures.link(found, metric, loss), f"No run measured {metric}."),
        _figure("Size and history", f"{loss}, mean over seeds.",
                scaling_figures.surface(told), "Needs several sizes and several histories."),
        _figure("Data", "Distinct training events.",
                scaling_figures.data(told), "This ladder varies no share of users or events."),
        _figure("What quality costs", "The line joins what nothing cheaper beats. Latency may "
                "have been taken while other work ran: compare it with care.",
                scaling_figures.frontier(found, ladder.config.budget_ms, loss),
                "Nothing was timed."),
        ("Who gains", "Lacks: slopes by item popularity, item age and history length, which "
         "records do not hold.", ""),
        ("Health of the rungs", "The learning rate of each rung stands in the ledger. Lacks: "
         "gradient norms and the share of peak speed, which records do not hold.", ""),
    ]  # fmt: skip


def _tables(
    ladder: Ladder,
    told: Mapping[str, Any],
    found: Sequence[Choice],
    records: Sequence[Record],
    forecast: Mapping[str, Any] | None,
) -> list[Section]:
    refused = "; ".join(
        f"{escape(family)}: {escape(reason)}"
        for family, data in told["families"].items()
        for reason in data["refused"].values()
    )
    tables = scaling_tables
    return [
        ("Scorecard", "Error: predicted less realised. Seed deviations: of one run.",
         tables.scorecard(told, forecast).html() or "<p>No held-out rung has run yet.</p>"),
        ("A doubling of each axis", "Negative is better. Seen: the slope between rungs that agree "
         "on all else. Beyond the top rung: by the primary law, bootstrap over rungs and seeds.",
         tables.returns(told).html()),
        ("Coefficients", "Intervals by profile likelihood, their coverage tested on planted laws.",
         tables.coefficients(told).html()),
        ("Fit", f"On the rungs fitted to. {'Not told: ' + refused + '.' if refused else ''}",
         tables.quality_of_fit(told).html()),
        ("Families at equal cost", "The best loss of each at no more than a cost.",
         tables.matched(found).html() or "<p>Lacks a second family.</p>"),
        ("Ledger", "Every run.", tables.ledger(ladder, records).html()),
    ]  # fmt: skip


def _verdicts(told: Mapping[str, Any]) -> str:
    said = {"scales": "scales", "does not scale": "does not scale, within the noise"}
    lines = [
        f"<li>{escape(family)}: {said.get(found['verdict'], 'cannot be told yet')}; "
        f"{escape(advice.worth(found))}</li>"
        for family, found in told["families"].items()
    ]
    return f"<ul>{''.join(lines)}</ul>"


def _figure(title: str, note: str, figure: go.Figure | None, lacks: str) -> Section:
    if figure is None:
        return title, f"{escape(note)} {escape(lacks)}", ""
    options = {"displayModeBar": False, "responsive": True}
    name = title.lower().replace(" ", "-")
    drawn = figure.to_html(
        full_html=False, include_plotlyjs=False, div_id=name, config=options, include_mathjax=False
    )
    return title, escape(note), drawn


def _forecast(folder: Path) -> dict[str, Any] | None:
    path = folder / FORECAST
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _document(title: str, body: str) -> str:
    style = files("recscale.report").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style>"
        f"<script>{get_plotlyjs()}</script></head><body><main>{body}"
        "<footer>Made by recscale from record.json and forecast.json files.</footer>"
        "</main></body></html>\n"
    )
