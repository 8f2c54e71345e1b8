"""The tables of a ladder's page, as heads and rows: HTML for the page, Markdown for a README."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from recscale.report.advice import Choice, front
from recscale.report.groups import get
from recscale.scaling.ladder import Ladder
from recscale.scaling.series import loss_of
from recscale.types import Record

ABSENT = "\u2013"


@dataclass(frozen=True, slots=True)
class Table:
    """Heads, and rows of texts; the first column is a name, the others are numbers."""

    heads: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        """As Markdown."""
        lines = [self.heads, ["---", *["---:"] * (len(self.heads) - 1)], *self.rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def html(self) -> str:
        """As HTML; nothing without rows."""
        if not self.rows:
            return ""
        heads = "".join(f"<th>{escape(head)}</th>" for head in self.heads)
        rows = "".join(
            f"<tr><th>{escape(row[0])}</th>"
            + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
            + "</tr>"
            for row in self.rows
        )
        return f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def ledger(ladder: Ladder, records: Sequence[Record]) -> Table:
    """Every run: parameters in four groups, compute, events, loss, time."""
    groups = ("item_table", "other_tables", "matrix", "scalars")
    heads = ["run", *(name.replace("_", " ") for name in groups), "train flops", "events",
             "distinct events", "lr", ladder.config.loss, ladder.config.metric, "p99 ms",
             "train s", "code"]  # fmt: skip
    rows: list[list[str]] = []
    for record in records:
        counted = [f"{record['cost']['parameters'][name]:,}" for name in groups]
        metric = get(record, f"metrics.retrieval.{ladder.config.metric}")
        rows.append(
            [
                record["name"],
                *counted,
                f"{record['cost']['train_flops']:.2e}",
                f"{record['train']['events']:,}",
                f"{record['train']['distinct_events']:,}",
                f"{record['config']['training']['lr']:.2g}",
                f"{loss_of(ladder, record):.4f}",
                number(metric),
                number(get(record, "latency.p99_ms"), 2),
                number(get(record, "train.seconds"), 0),
                str(record.get("commit", ABSENT)),
            ]
        )
    return Table(heads, rows)


def coefficients(told: Mapping[str, Any]) -> Table:
    """Every number of every law with its 95 % interval; the bootstrap beside the primary law."""
    rows: list[list[str]] = []
    for family, found in told["families"].items():
        drawn = found.get("bootstrap", {}).get("numbers", {})
        robust = found.get("joint", {})
        for law, fitted in found["laws"].items():
            primary = law == "additive power"
            for name, value in fitted["numbers"].items():
                boot = drawn.get(name) if primary else None
                rows.append(
                    [
                        f"{family}: {law}",
                        name,
                        short(value["value"]),
                        ends(value["low"], value["high"]),
                        ends(*boot) if boot else ABSENT,
                        short(robust[name]) if primary and name in robust else ABSENT,
                    ]
                )
    return Table(["law", "number", "value", "95 %", "bootstrap 95 %", "joint Huber fit"], rows)


def quality_of_fit(told: Mapping[str, Any]) -> Table:
    """How each law fits the rungs it was fitted to: says nothing of those it was not."""
    rows = [
        [f"{family}: {law}", ", ".join(fit["axes"]), number(fit["r2"]), number(fit["deviation"], 5),
         str(fit["degrees"]), number((found["noise"] or {}).get("deviation"), 5)]
        for family, found in told["families"].items()
        for law, fit in found["laws"].items()
    ]  # fmt: skip
    heads = ["law", "axes", "R\u00b2", "deviation", "degrees of freedom", "seed noise"]
    return Table(heads, rows)


def scorecard(told: Mapping[str, Any], forecast: Mapping[str, Any] | None) -> Table:
    """Prediction, what came, error; beside the noise over seeds."""
    heads = ["held-out rung", "rival", "predicted", "95 %", "realised", "error", "relative",
             "in seed deviations", "in interval"]  # fmt: skip
    rows: list[list[str]] = []
    for rung, score in told.get("scorecard", {}).items():
        said = (forecast or {}).get("rungs", {}).get(rung, {}).get("loss", {})
        ordered = sorted(score["laws"].items(), key=lambda item: abs(item[1]["error"]))
        for law, found in ordered:
            interval = said.get(law, {})
            rows.append(
                [
                    f"{rung} ({score['runs']} seeds)",
                    law,
                    number(interval.get("value")),
                    ends(interval.get("low"), interval.get("high")),
                    number(score["realised"]),
                    f"{found['error']:+.4f}",
                    f"{found['relative_error']:+.2%}",
                    number(found["in_seed_deviations"], 1),
                    "yes" if found["in_interval"] else "no",
                ]
            )
    return Table(heads, rows)


def returns(told: Mapping[str, Any]) -> Table:
    """What a doubling of each axis does: seen between rungs, and by the law beyond the top one."""
    rows: list[list[str]] = []
    for family, found in told["families"].items():
        gains = found.get("doubling", {}).get("gain", {})
        for axis, trend in found["trends"].items():
            gain = gains.get(axis)
            rows.append(
                [
                    f"{family}: {axis}",
                    ABSENT if trend is None else f"{trend['per_doubling']:+.4f}",
                    ABSENT if trend is None else ends(trend["low"], trend["high"]),
                    ABSENT if trend is None else trend["verdict"],
                    ABSENT if gain is None else f"{gain['value']:+.4f}",
                    ABSENT if gain is None else ends(gain["low"], gain["high"]),
                ]
            )
    heads = ["axis", "loss a doubling", "95 %", "verdict", "next doubling, by the law", "95 %"]
    return Table(heads, rows)


def matched(found: Sequence[Choice]) -> Table:
    """The best of each family at no more than each cost: equal compute, equal latency."""
    rows: list[list[str]] = []
    families = list(dict.fromkeys(choice.family for choice in found))
    for cost, title in (("train_flops", "train flops"), ("p99_ms", "p99 ms"),
                        ("flops_per_request", "flops / request")):  # fmt: skip
        fronts = {
            family: front([c for c in found if c.family == family], cost) for family in families
        }
        levels = sorted({getattr(choice, cost) for kept in fronts.values() for choice in kept})
        for level in levels:
            best = {f: [c for c in kept if getattr(c, cost) <= level] for f, kept in fronts.items()}
            if all(best.values()):
                cells = [f"{kept[-1].loss:.4f} ({kept[-1].name})" for kept in best.values()]
                rows.append([f"{title} \u2264 {level:.3g}", *cells])
    return Table(["at no more than", *families], rows if len(families) > 1 else [])


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many digits after the point; a dash where there is none."""
    return ABSENT if value is None else f"{value:,.{digits}f}"


def short(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}"


def ends(low: float | None, high: float | None) -> str:
    """An interval; an end that is not bounded is infinite."""
    if low is None and high is None:
        return "unbounded"
    left = "\u2212\u221e" if low is None else f"{low:.4g}"
    right = "\u221e" if high is None else f"{high:.4g}"
    return f"[{left}, {right}]"
