"""Records in, one HTML page out: it opens without a network, and shows only what was measured."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from recscale.report import combined, curves, differences, figures, forgetting, load, tables
from recscale.report.families import COLOUR
from recscale.report.groups import BEHAVIOUR, RANKING, RETRIEVAL, Group, get, group, present
from recscale.types import Record

SYNTHETIC = (
    "<strong>Synthetic log.</strong> These users do not exist: the log was drawn from a known "
    "process, its truth planted, so that what a model finds can be checked. The numbers say "
    "nothing about real behaviour."
)
MACHINES = (
    "<strong>Several machines.</strong> These runs were not all made on the same machine: compare "
    "seconds and milliseconds between them with care."
)


def write(records: Sequence[Record], out: Path, folders: Mapping[str, Path] | None = None) -> None:
    """One page at `out`, whole. `folders`: run name -> its folder, for curves and predictions.

    Raises ValueError, one line, where the records cannot be compared.
    """
    groups = group(records)
    places = folders or {}
    table = differences.resample(groups, places)
    sections = [
        _head(groups),
        _section(
            "Together or alone",
            "Written by rule from the numbers below.",
            combined.found(groups, table),
        ),
        _section("Comparison", tables.NOTE, tables.main(groups, table)),
        _section(
            "Difference to the best",
            "Paired bootstrap over users, 95 % intervals of the mean over seeds. How trainings "
            "differ from seed to seed is not in them; the table above asks for both.",
            tables.paired(groups, table),
        ),
        *_combined(groups, places, table),
        *_plots(groups, places),
        *_details(groups, table),
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{os.getpid()}.{out.name}")
    aside.write_text(_document(_title(groups), "".join(sections)), encoding="utf-8")
    aside.replace(out)


def _plots(groups: Sequence[Group], folders: Mapping[str, Path]) -> list[str]:
    return [
        _section(
            "Quality",
            "Points: mean over seeds. Bars: one standard deviation. Ticks: every seed.",
            _figure(figures.quality(groups), "quality", _key(groups)),
        ),
        _section(
            "Quality and latency",
            "One request at a time. Left of the dashed line a model keeps its budget.",
            _figure(figures.frontier(groups), "frontier", _key(groups)),
        ),
        _section(
            "Under load",
            "Requests as they come, a point a trial: what was kept of users, in which precision. "
            "Only serving that gives evaluation's scores has evaluation's quality; the rest is "
            "not drawn.",
            _figure(load.frontier(groups), "load", _key(groups)),
        ),
        _section(
            "Training",
            "One line a run. Losses of different objectives are not comparable.",
            _figure(figures.training(groups, folders), "training"),
        ),
        _section(
            "Forgetting",
            forgetting.NOTE,
            forgetting.table(groups) + _figure(forgetting.figure(groups), "forgetting"),
        ),
    ]


def _combined(
    groups: Sequence[Group], folders: Mapping[str, Path], table: differences.Table
) -> list[str]:
    records = [record for found in groups for record in found.records]
    drawn = _figure(curves.behaviour(records), "scale")
    return [
        _section(
            "At equal cost",
            "Each combination less the best single model that costs at most 1.1 times as much.",
            combined.equal_cost(groups, table),
        ),
        _section(
            "Who gains",
            "ndcg@10 on thirds of the held-out events; under a combination, its distance to the "
            "best single model. 95 % intervals over users.",
            combined.sliced(groups, folders, table),
        ),
        _section(
            "Behaviour and scale",
            "Change for each factor of e, other axes held; intervals from drawing whole runs.",
            combined.scaled(records) + drawn,
        ),
    ]


def _details(groups: Sequence[Group], table: differences.Table) -> list[str]:
    parts = (
        ("Retrieval", "Every held-out event ranked in the full catalogue.", RETRIEVAL),
        ("Ranking", "Every held-out exposure by its score.", RANKING),
        ("Behaviour", "The ten items that each request would have been shown.", BEHAVIOUR),
    )
    return [
        _section(title, note, tables.numbers(groups, present(groups, columns), table))
        for title, note, columns in parts
    ]


def _head(groups: Sequence[Group]) -> str:
    records = [record for found in groups for record in found.records]
    facts = "".join(
        f"<div><dt>{name}</dt><dd>{escape(text)}</dd></div>"
        for name, text in _facts(records)
        if text
    )
    notices = [SYNTHETIC] if get(records[0], "config.data.source") == "synthetic" else []
    if len(_distinct(records, _machine)) > 1:
        notices.append(MACHINES)
    said = "".join(f'<p class="notice">{notice}</p>' for notice in notices)
    return f"<h1>{escape(_title(groups))}</h1>{said}<dl>{facts}</dl>"


def _facts(records: Sequence[Record]) -> list[tuple[str, str]]:
    """What the numbers rest on; an empty text is not shown."""
    config, data = records[0]["config"], records[0]["data"]
    sizes = [f"{data[key]:,} {key}" for key in ("users", "items", "events") if key in data]
    parts = [f"{key} {data[key]:,}" for key in ("train", "valid", "test") if key in data]
    dropped = [f"{reason} {rows:,}" for reason, rows in data.get("dropped", {}).items() if rows]
    seeds = sorted({record["seed"] for record in records})
    return [
        ("Data", _source(records[0])),
        ("Size", ", ".join(sizes)),
        ("Parts, events", ", ".join(parts)),
        ("Dropped rows", ", ".join(dropped)),
        ("Digest", str(data["digest"])),
        ("Split", _settings(config.get("split"))),
        ("Evaluation", _settings(config.get("evaluation"))),
        ("Held out", " | ".join(_distinct(records, _held_out))),
        ("Latency", " | ".join(_distinct(records, _request))),
        ("Machine", " | ".join(_distinct(records, _machine))),
        ("Code", " | ".join(_distinct(records, _code))),
        ("Seeds", ", ".join(map(str, seeds))),
    ]


def _title(groups: Sequence[Group]) -> str:
    count = len(groups)
    source = _source(groups[0].records[0])
    return f"{_counted(count, 'model')} on {'a synthetic log' if source == 'synthetic' else source}"


def _source(record: Record) -> str:
    return str(get(record, "config.data.source") or "an unnamed log")


def _settings(settings: Mapping[str, Any] | None) -> str:
    """{"seen": "kept", "requests": None} -> "seen kept, requests all"."""
    said = {"None": "all", "True": "yes", "False": "no"}
    pairs = [(key, str(value)) for key, value in (settings or {}).items()]
    return ", ".join(f"{key} {said.get(value, value)}" for key, value in pairs)


def _request(record: Record) -> str:
    latency = record.get("latency")
    if not latency:
        return ""
    return (
        f"{latency['requests']} requests of {latency['history']} events and "
        f"{latency['candidates']} candidates"
    )


def _held_out(record: Record) -> str:
    counted = (
        ("retrieval.targets", "target"),
        ("retrieval.cold_targets", "cold target"),
        ("ranking.exposures", "exposure"),
        ("ranking.single_class_users", "single-class user"),
    )
    found = [_counted(get(record, f"metrics.{key}"), noun) for key, noun in counted]
    return ", ".join(text for text in found if text)


def _machine(record: Record) -> str:
    machine = record["machine"]
    parts = [machine.get("gpu"), machine.get("cpu"), _counted(machine.get("threads"), "thread")]
    torch = machine.get("torch")
    parts += [f"torch {torch}" if torch else None, machine.get("precision")]
    return ", ".join(part for part in parts if part)


def _code(record: Record) -> str:
    commit = record.get("commit")
    return f"recscale {record['version']}" + (f", commit {commit}" if commit else "")


def _counted(number: int | None, noun: str) -> str | None:
    return None if number is None else f"{number:,} {noun}{'s' * (number != 1)}"


def _distinct(records: Sequence[Record], describe: Any) -> list[str]:
    return list(dict.fromkeys(text for record in records if (text := describe(record))))


def _key(groups: Sequence[Group]) -> str:
    families = dict.fromkeys(found.family for found in groups)
    parts = [f'<span><i style="background:{COLOUR[name]}"></i>{name}</span>' for name in families]
    return f'<div class="key">{"".join(parts)}</div>'


def _figure(figure: go.Figure | None, name: str, key: str = "") -> str:
    if figure is None:
        return ""
    options = {"displayModeBar": False, "responsive": True}
    drawn = figure.to_html(
        full_html=False, include_plotlyjs=False, div_id=name, config=options, include_mathjax=False
    )
    return key + drawn


def _section(title: str, note: str, body: str) -> str:
    """Nothing at all where nothing was measured."""
    return f'<h2>{title}</h2><p>{note}</p><div class="wide">{body}</div>' if body else ""


def _document(title: str, body: str) -> str:
    style = files("recscale.report").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style>"
        f"<script>{get_plotlyjs()}</script></head><body><main>{body}"
        "<footer>Made by recscale from record.json files.</footer></main></body></html>\n"
    )
