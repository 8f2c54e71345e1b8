"""Groups as tables: Markdown for a README, HTML for the page. An absent value is a dash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from recscale.evaluation.bootstrap import Interval, Spread
from recscale.report import differences
from recscale.report.families import COLOUR
from recscale.report.groups import COST, HEADLINE, Column, Group, get, group, present
from recscale.types import Record

ABSENT = "\u2013"
NOTE = (
    "Mean \u00b1 standard deviation over seeds. Bold: best, and ahead of the second by more than "
    "the noise, over seeds and over users. \u2248: best, but within noise of the second."
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A number, its deviation over seeds, and whether it is the best of its column."""

    mean: str
    sd: str | None = None  # None where there is one seed, or nothing to deviate
    best: bool | None = None  # True clearly, False within noise, None not the best


def markdown(records: Sequence[Record], folders: Mapping[str, Path] | None = None) -> str:
    """The main table: one line for each config. Raises ValueError as `group` does."""
    groups = group(records)
    table = differences.resample(groups, folders or {})
    columns = present(groups, HEADLINE + COST)
    heads = ["model", "seeds", *(column.title for column in columns), verdict_title(groups)]
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    cells = [column_cells(groups, column, table) for column in columns]
    for i, found in enumerate(groups):
        texts = [_text(column[i]) for column in cells]
        lines.append([found.name, str(len(found.records)), *texts, verdict(found)])
    rows = ["| " + " | ".join(line) + " |" for line in lines]
    return "\n".join([*rows, "", NOTE])


def markdown_gaps(records: Sequence[Record], folders: Mapping[str, Path]) -> str:
    """The distance of each config to the best one, where predictions are there; else nothing."""
    groups = group(records)
    table = differences.resample(groups, folders)
    columns = [column.title for column in HEADLINE if len(table.get(column.title, {})) > 1]
    if not columns:
        return ""
    gaps = [differences.to_best(title, table) for title in columns]
    lines = [["model", *columns], ["---", *["---:"] * len(columns)]]
    for found in groups:
        cells = [
            _gap_text(gap.get(found.name)) if found.name in table[title] else ABSENT
            for title, gap in zip(columns, gaps, strict=True)
        ]
        lines.append([found.name, *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main(groups: Sequence[Group], table: differences.Table) -> str:
    """The main table as HTML: quality, size, cost, verdict."""
    columns = present(groups, HEADLINE + COST)
    heads = [*map(_head, columns), escape(verdict_title(groups))]
    cells = _cells(groups, columns, table)
    return grid(groups, heads, [*cells, [_badge(verdict(found)) for found in groups]])


def numbers(groups: Sequence[Group], columns: Sequence[Column], table: differences.Table) -> str:
    """One line for each group, one column for each number, as HTML; nothing without columns."""
    if not columns:
        return ""
    return grid(groups, [*map(_head, columns)], _cells(groups, columns, table))


def paired(groups: Sequence[Group], table: differences.Table) -> str:
    """How far each group is from the best of a metric, with its paired 95 % interval, as HTML."""
    columns = [column for column in HEADLINE if len(table.get(column.title, {})) > 1]
    if not columns:
        return ""
    cells: list[list[str]] = []
    for column in columns:
        gaps = differences.to_best(column.title, table)
        cells.append([_gap(gaps, table[column.title], found.name) for found in groups])
    return grid(groups, [escape(column.title) for column in columns], cells)


def column_cells(groups: Sequence[Group], column: Column, table: differences.Table) -> list[Cell]:
    """A cell for each group; the best is marked where a column has a better and a worse end."""
    ranked = differences.ordered(groups, column) if column.better else []
    best = ranked[0] if len(ranked) > 1 else None
    clear = differences.is_clear(groups, column, table) if best else None
    return [_cell(g.spread(column.key), column.kind, clear if g is best else None) for g in groups]


def verdict(found: Group) -> str:
    """Whether a group keeps the latency budget, by the interval of its percentile where known."""
    answers: set[str] = set()
    for record in found.records:
        latency = record.get("latency")
        if not latency:
            continue
        percentile, budget = latency["percentile"], latency["budget_ms"]
        value = latency[f"p{percentile}_ms"]
        low = latency.get(f"p{percentile}_low_ms", value)
        high = latency.get(f"p{percentile}_high_ms", value)
        answers.add("within" if high <= budget else "over" if low > budget else "too close")
    if not answers:
        return ABSENT
    return answers.pop() if len(answers) == 1 else "too close"


def verdict_title(groups: Sequence[Group]) -> str:
    """The budget that verdicts are on."""
    budgets = sorted(
        {
            f"p{latency['percentile']} \u2264 {latency['budget_ms']:g} ms"
            for found in groups
            for record in found.records
            if (latency := get(record, "latency"))
        }
    )
    return " or ".join(budgets) or "budget"


def number(value: float, kind: str) -> str:
    """A number as its column writes it."""
    match kind:
        case "metric":
            return f"{value:.4f}"
        case "count":
            return count(value)
        case "milliseconds":
            return f"{value:.2f}" if value < 10 else f"{value:.1f}"
        case _:
            return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def count(value: float) -> str:
    """1234567 -> 1.23 M."""
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.0f}"


def _cell(spread: Spread | None, kind: str, best: bool | None) -> Cell:
    if spread is None:
        return Cell(ABSENT)
    # Sizes do not vary with the seed.
    sd = None if spread.sd is None or kind == "count" else number(spread.sd, kind)
    return Cell(number(spread.mean, kind), sd, best)


def _text(cell: Cell) -> str:
    text = cell.mean if cell.sd is None else f"{cell.mean} \u00b1 {cell.sd}"
    if cell.best is None:
        return text
    return f"**{text}**" if cell.best else f"\u2248 {text}"


def grid(groups: Sequence[Group], heads: Sequence[str], columns: Sequence[list[str]]) -> str:
    """Heads and columns of ready cells, a line for each group."""
    titles = "".join(f"<th>{head}</th>" for head in ["model", "seeds", *heads])
    lines = [
        f"<tr>{_model(found)}<td>{len(found.records)}</td>{''.join(c[i] for c in columns)}</tr>"
        for i, found in enumerate(groups)
    ]
    body = "".join(lines)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"


def _cells(
    groups: Sequence[Group], columns: Sequence[Column], table: differences.Table
) -> list[list[str]]:
    return [[_td(cell) for cell in column_cells(groups, column, table)] for column in columns]


def _td(cell: Cell) -> str:
    name = ' class="best"' if cell.best else ""
    mark = "\u2248 " if cell.best is False else ""
    sd = "" if cell.sd is None else f"<small>\u00b1 {cell.sd}</small>"
    noise = "<small>within noise</small>" if cell.best is False else ""
    return f"<td{name}>{mark}{cell.mean}{sd}{noise}</td>"


def _badge(said: str) -> str:
    mood = {"within": "good", "over": "bad"}.get(said, "open")
    return f'<td><span class="verdict {mood}">{said}</span></td>'


def _model(found: Group) -> str:
    colour = COLOUR[found.family]
    return (
        f'<th scope="row"><i style="background:{colour}"></i>{escape(found.name)}'
        f"<small>{found.family}</small></th>"
    )


def _gap(gaps: Mapping[str, Interval], measured: Mapping[str, object], name: str) -> str:
    if name not in measured:
        return f"<td>{ABSENT}</td>"
    if name not in gaps:
        return '<td class="best">best</td>'
    gap = gaps[name]
    inside = gap.low <= 0 <= gap.high
    note = "within noise" if inside else f"p {_p(gap.p)}"
    return (
        f"<td>{signed(gap.mean)}<small>[{signed(gap.low)}, {signed(gap.high)}]"
        f"<br>{note}</small></td>"
    )


def _gap_text(gap: Interval | None) -> str:
    if gap is None:
        return "best"
    return f"{signed(gap.mean)} [{signed(gap.low)}, {signed(gap.high)}]"


def _p(value: float) -> str:
    return "&lt; 0.01" if value < 0.01 else f"= {value:.2f}"


def signed(value: float) -> str:
    """A difference with its sign, a true minus."""
    return f"{value:+.4f}".replace("-", "\u2212")


def _head(column: Column) -> str:
    arrow = {"higher": "\u00a0\u2191", "lower": "\u00a0\u2193", None: ""}[column.better]
    return escape(column.title) + arrow
