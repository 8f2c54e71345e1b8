"""Raw values of a request to ids and numbers, by what `prepare` learned from the training part."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor

from recscale.features.store import Store
from recscale.features.vocab import FIRST
from recscale.types import UNSEEN, Feature


class FieldError(ValueError):
    """A value that cannot be used; `field` is its dotted place in the message."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class Codec:
    """The vocabularies of a prepared folder, each as a table from raw value to id."""

    def __init__(self, store: Store) -> None:
        self.folder = store.folder
        self.schema = store.schema
        self.items = self._table("vocabulary/item")
        self.names = list(self.items)
        self.users = self._table("users/names", first=0)
        scales = self._file("vocabulary/scales.json").read_text(encoding="utf-8")
        self.scales: Mapping[str, Any] = json.loads(scales)
        self.event_features = (*self.schema.context, *self.schema.event)
        homes = [("user", self.schema.user), ("event", self.event_features)]
        self.tables = {
            f"{home}/{feature.name}": self._table(f"vocabulary/{home}/{feature.name}")
            for home, features in homes
            for feature in features
            if feature.kind == "categorical"
        }

    def user(self, name: int | str) -> int | None:
        """The index of a user of the log; None for anybody else."""
        return self.users.get(_like(name, self.users))

    def item(self, name: int | str) -> int:
        """UNSEEN for an item that training did not hold."""
        return self.items.get(_like(name, self.items), UNSEEN)

    def candidates(self, names: Sequence[int | str]) -> Tensor:
        """[C] ids. Raises FieldError for an item that the model cannot know."""
        ids = [self.item(name) for name in names]
        if UNSEEN in ids:
            place = ids.index(UNSEEN)
            raise FieldError(f"items.{place}", f"no such item in training: {_shown(names[place])}")
        return torch.tensor(ids)

    def name(self, item: int) -> int | str:
        """The raw value of an id."""
        return self.names[item - FIRST]

    def of_user(self, given: Mapping[str, Any]) -> dict[str, Tensor]:
        """name -> [1] for every user feature; see `_encoded`."""
        return self._encoded("user", self.schema.user, given, "features")

    def of_request(self, given: Mapping[str, Any]) -> dict[str, Tensor]:
        """name -> [1] for every context feature; see `_encoded`."""
        return self._encoded("event", self.schema.context, given, "context")

    def of_event(self, given: Mapping[str, Any], field: str) -> dict[str, Tensor]:
        """name -> [1] for context and event features together; see `_encoded`."""
        return self._encoded("event", self.event_features, given, field)

    def _encoded(
        self, home: str, features: Sequence[Feature], given: Mapping[str, Any], field: str
    ) -> dict[str, Tensor]:
        """A feature not given is unknown. Raises FieldError for a name that there is not."""
        known = {feature.name for feature in features}
        for name in given:
            if name not in known:
                allowed = ", ".join(sorted(known)) or "none"
                raise FieldError(f"{field}.{_shown(name)}", f"no such feature; there is {allowed}")
        return {f.name: self._value(home, f, given.get(f.name), field) for f in features}

    def _value(self, home: str, feature: Feature, value: Any, field: str) -> Tensor:
        where = f"{home}/{feature.name}"
        if feature.kind == "categorical":
            table = self.tables[where]
            return torch.tensor([table.get(_like(value, table), UNSEEN)])
        if value is None:
            return torch.zeros(1)  # the mean
        if isinstance(value, str):
            raise FieldError(f"{field}.{feature.name}", f"want a number, got {_shown(value)}")
        mean, deviation = self.scales[where]
        return torch.tensor([(value - mean) / deviation], dtype=torch.float32)

    def _file(self, name: str) -> Path:
        path = self.folder / name
        if not path.exists():
            raise ValueError(
                f"{path}: missing; the folder was prepared by an older version: remove "
                f"{self.folder} and prepare it again"
            )
        return path

    def _table(self, name: str, first: int = FIRST) -> dict[Any, int]:
        values = pl.read_parquet(self._file(f"{name}.parquet"))["value"].to_list()
        return {value: place + first for place, value in enumerate(values)}


def _like(value: Any, table: Mapping[Any, int]) -> Any:
    """`value` as the table's keys are: JSON has no type for "the id 12" but what a client chose."""
    key = next(iter(table), None)
    if isinstance(key, int) and not isinstance(key, bool):
        text = isinstance(value, str) and value.isascii() and value.removeprefix("-").isdigit()
        return int(value) if text and len(value) < 20 else value
    if isinstance(key, str) and isinstance(value, int):
        return str(value)
    return value


def _shown(value: Any) -> str:
    return ascii(value)[:60]
