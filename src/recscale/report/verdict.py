"""Is a gain forgetting? Said by rule, from runs of the same log as it is and with it spoilt.

A gain that survives permuted gaps comes from order, or from more parameters; one that dies when
clocks show the hour only is the structure of sessions. What is left is forgetting.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from recscale.report.groups import get
from recscale.types import Record

KIND, CONTROL = "config.model.forgetting.kind", "config.data.control"
NONE = "none"
PLAIN = '{"kind": "none"}'  # the settings of no forgetting, as text
SURVIVES = 0.5  # of a gain: a control that leaves more has not touched it


# Settings but for these, control, kind, settings of the kind -> seed -> value
Runs = dict[tuple[str, str, str, str], dict[int, float]]


@dataclass(frozen=True, slots=True)
class Gain:
    """What a kind of forgetting adds to a metric over forgetting nothing, paired by seed."""

    mean: float
    error: float | None  # standard error over seeds; None with one
    seeds: int

    @property
    def real(self) -> bool:
        """More than two standard errors above nothing."""
        return self.error is not None and self.mean > 2 * self.error


@dataclass(frozen=True, slots=True)
class Verdict:
    """One kind of forgetting in one model on one log."""

    log: str
    model: str
    kind: str
    level: float  # of the metric without forgetting
    gains: dict[str, Gain]  # by control; "none" is the log as it is

    @property
    def said(self) -> str:
        """In a few words, by the rule above."""
        gain = self.gains[NONE]
        if gain.error is None:
            return "one seed only"
        if not gain.real:
            return "worse" if gain.mean < -2 * gain.error else "no gain"
        permuted, hour = self.gains.get("permute_gaps"), self.gains.get("hour")
        if permuted is None or hour is None:
            return "a gain, not controlled"
        if permuted.mean > SURVIVES * gain.mean:
            return "not forgetting: it survives permuted gaps"
        if hour.mean < SURVIVES * gain.mean:
            return "session structure: it dies at an hour"
        return "forgetting"


def verdicts(records: Sequence[Record], metric: str) -> list[Verdict]:
    """Every kind that has a run without forgetting beside it; metric: a dotted key, up is better.

    Runs belong together where their settings differ in nothing but kind, control and seed.
    """
    runs: Runs = {}
    names: dict[str, tuple[str, str]] = {}
    for record in records:
        value, kind = get(record, metric), get(record, KIND)
        if value is None or kind is None:
            continue
        rest = _rest(record)
        names[rest] = (_log(record), str(get(record, "config.model.name")))
        curve = json.dumps(get(record, "config.model.forgetting"), sort_keys=True)
        arm = (rest, str(get(record, CONTROL)), kind, curve)
        runs.setdefault(arm, {})[record["seed"]] = value
    return _judged(runs, names)


def _judged(runs: Runs, names: dict[str, tuple[str, str]]) -> list[Verdict]:
    found: list[Verdict] = []
    for rest, kind, curve in sorted({(rest, k, c) for rest, _, k, c in runs if k != NONE}):
        gains: dict[str, Gain] = {}
        for control in sorted({c for r, c, _, _ in runs if r == rest}):
            plain = runs.get((rest, control, NONE, PLAIN), {})
            gain = _gain(runs.get((rest, control, kind, curve), {}), plain)
            if gain is not None:
                gains[control] = gain
        if NONE in gains:
            level = mean(runs[rest, NONE, NONE, PLAIN].values())
            found.append(Verdict(*names[rest], kind, level, gains))
    return found


def _gain(with_it: dict[int, float], without: dict[int, float]) -> Gain | None:
    seeds = sorted(with_it.keys() & without.keys())
    if not seeds:
        return None
    gaps = [with_it[seed] - without[seed] for seed in seeds]
    error = stdev(gaps) / len(gaps) ** 0.5 if len(gaps) > 1 else None
    return Gain(mean(gaps), error, len(gaps))


def _rest(record: Record) -> str:
    """All settings but those that tell the arms of one question apart."""
    config: dict[str, Any] = {**record["config"], "seed": None}
    config["data"] = {**config["data"], "control": None}
    config["model"] = {**config["model"], "forgetting": None}
    return json.dumps(config, sort_keys=True)


def _log(record: Record) -> str:
    data = record["config"]["data"]
    return str(data["path"] if data["source"] == "table" else data["source"])


def markdown(found: Sequence[Verdict]) -> str:
    """One row a kind; gains with their standard errors."""
    controls = [NONE, "permute_gaps", "hour", "shuffle_order"]
    heads = ["log", "model", "forgetting", "without", "gain", *controls[1:], "seeds", "verdict"]
    rows = [
        [
            verdict.log,
            verdict.model,
            verdict.kind,
            f"{verdict.level:.4f}",
            *(_told(verdict.gains.get(control)) for control in controls),
            str(verdict.gains[NONE].seeds),
            verdict.said,
        ]
        for verdict in found
    ]
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _told(gain: Gain | None) -> str:
    if gain is None:
        return "–"
    error = "" if gain.error is None else f" ± {gain.error:.4f}"
    return f"{gain.mean:+.4f}{error}".replace("-", "−")
