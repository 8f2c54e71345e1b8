"""Records to groups: one for each config, its seeds together. Refuses what cannot be compared."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recscale.evaluation.bootstrap import Spread, over_seeds
from recscale.report.families import family_of
from recscale.types import Record

# What must be equal for two numbers to be comparable: the requests and how they are ranked.
SAME_EVERYWHERE = (
    "data.digest",
    "config.split",
    "config.evaluation",
)
SAME_SLATE = "config.features.history"  # too, where what the history holds is not ranked


@dataclass(frozen=True, slots=True)
class Column:
    """One number of a record as a page shows it."""

    key: str  # dotted, in the record
    title: str
    kind: str  # metric, count, seconds or milliseconds: how it is written
    better: str | None = None  # higher or lower; None where neither is


def _metrics(part: str, names: str, better: str | None) -> list[Column]:
    return [Column(f"metrics.{part}.{name}", name, "metric", better) for name in names.split()]


RETRIEVAL = _metrics("retrieval", "ndcg@10 hr@10 hr@50 hr@200 ndcg@200 mrr", "higher")
RANKING = _metrics("ranking", "auc gauc", "higher") + _metrics("ranking", "ne logloss ece", "lower")
BEHAVIOUR = _metrics(
    "behaviour",
    "ndcg_new ndcg_repeat repeat_ratio repeat_true repeat_bias "
    "ndcg_memorised ndcg_unmemorised memorised_true novelty coverage@10 gini category_js",
    None,
)
_HEADLINE = ("ndcg@10", "hr@10", "mrr", "auc", "gauc", "ne")
HEADLINE = [column for column in RETRIEVAL + RANKING if column.title in _HEADLINE]
COST = [
    Column("cost.dense_params", "dense params", "count"),
    Column("cost.embedding_params", "embedding params", "count"),
    Column("cost.flops_per_request", "flops / request", "count"),
    Column("train.seconds", "train s", "seconds"),
    Column("latency.p99_ms", "p99 ms", "milliseconds"),
]


@dataclass(frozen=True, slots=True)
class Group:
    """The runs of one config, a seed each."""

    name: str
    records: tuple[Record, ...]

    @property
    def family(self) -> str:
        """Generative, CTR, ... by the model's name and its members'."""
        return family_of(self.records[0]["config"])

    def values(self, key: str) -> list[float]:
        """The number at a dotted key, of each run that measured it."""
        found = [get(record, key) for record in self.records]
        return [float(value) for value in found if value is not None]

    def spread(self, key: str) -> Spread | None:
        """Mean and deviation over seeds; None where no run measured it."""
        values = self.values(key)
        return over_seeds(values) if values else None


def group(records: Sequence[Record]) -> list[Group]:
    """Records of the same name but for "-s<seed>" together, best on the first metric first.

    Raises ValueError, one line, for no record, two of one name, settings that differ inside a
    group, and data or evaluation that differs between any two.
    """
    if not records:
        raise ValueError("no record to report on")
    named: dict[str, list[Record]] = {}
    for record in sorted(records, key=lambda found: (found["name"], found["seed"])):
        named.setdefault(re.sub(r"-s\d+$", "", record["name"]), []).append(record)
    _refuse_twins(records)
    for first, other in zip(records, records[1:], strict=False):
        _refuse_other_requests(first, other)
    for runs in named.values():
        _refuse_other_settings(runs)
    groups = [Group(name, tuple(runs)) for name, runs in named.items()]
    lead = present(groups, HEADLINE)[:1]
    return sorted(groups, key=lambda g: -_mean(g, lead[0].key)) if lead else groups


def present(groups: Sequence[Group], columns: Sequence[Column]) -> list[Column]:
    """The columns that any run has measured."""
    return [column for column in columns if any(g.values(column.key) for g in groups)]


def get(record: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key; None where it is absent."""
    value: Any = record
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _mean(found: Group, key: str) -> float:
    spread = found.spread(key)
    return float("-inf") if spread is None else spread.mean


def _refuse_twins(records: Sequence[Record]) -> None:
    names = [record["name"] for record in records]
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise ValueError(f"two runs are named {twins[0]}: give one of them")


def _refuse_other_requests(first: Record, other: Record) -> None:
    removed = get(first, "config.evaluation.seen") == "removed"
    for key in (*SAME_EVERYWHERE, SAME_SLATE) if removed else SAME_EVERYWHERE:
        if get(first, key) != get(other, key):
            raise ValueError(
                f"not comparable: {key} is {get(first, key)} in {first['name']} "
                f"and {get(other, key)} in {other['name']}"
            )


def _refuse_other_settings(runs: Sequence[Record]) -> None:
    first = _leaves(runs[0]["config"])
    for other in runs[1:]:
        settings = _leaves(other["config"])
        keys = sorted(first.keys() | settings.keys())
        differ = [key for key in keys if first.get(key) != settings.get(key) and key != "seed"]
        if differ:
            raise ValueError(
                f"{runs[0]['name']} and {other['name']} are no two seeds of one config: "
                f"{differ[0]} is {first.get(differ[0])} and {settings.get(differ[0])}"
            )


def _leaves(value: Any, key: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {key: value}
    found: dict[str, Any] = {}
    for name, part in value.items():
        found |= _leaves(part, f"{key}.{name}".lstrip("."))
    return found
