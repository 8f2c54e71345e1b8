"""What the training part of a log teaches, gathered over ranges of users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from recscale.data.schema import ITEM, PART, USER, Log
from recscale.data.split import TRAIN, Split
from recscale.features.config import FeaturesConfig
from recscale.features.vocab import Moments, Scale, Vocabulary
from recscale.types import Feature

Encoder = Vocabulary | Scale
TRAINED = "__trained"  # whether a user has training events


class Wanted:
    """The columns of each role that the settings leave in."""

    def __init__(self, log: Log, config: FeaturesConfig) -> None:
        columns = log.columns
        named = {*columns.item, *columns.user, *columns.context, *columns.event}
        unknown = sorted(set(config.include or ()) - named)
        if unknown:
            raise ValueError(
                f"features.include: the log has no {', '.join(unknown)}; it has "
                f"{', '.join(sorted(named)) or 'no features'}"
            )
        keep = named if config.include is None else set(config.include)
        self.item = {k: v for k, v in columns.item.items() if k in keep}
        self.user = {k: v for k, v in columns.user.items() if k in keep}
        self.context = {k: v for k, v in columns.context.items() if k in keep}
        self.event = {k: v for k, v in columns.event.items() if k in keep}
        self.user_id = config.user_id

    @property
    def of_events(self) -> Mapping[str, str]:
        """Context and event columns and their kinds."""
        return {**self.context, **self.event}


@dataclass(frozen=True, slots=True)
class Seen:
    """One range of users: what its training rows hold, and who they are."""

    columns: Mapping[str, Vocabulary | Moments]  # distinct values, or numbers summed by user
    users: pl.DataFrame  # USER and TRAINED, in order


@dataclass(frozen=True, slots=True)
class Fitted:
    """How each column of the events is encoded, and every user of the log."""

    encoders: Mapping[str, Encoder]  # ITEM, context and event features
    users: pl.DataFrame  # USER and TRAINED, in order

    @property
    def items(self) -> Vocabulary:
        """The vocabulary of items."""
        found = self.encoders[ITEM]
        assert isinstance(found, Vocabulary)
        return found


def see(split: Split, wanted: Wanted) -> Seen:
    """What one range of users holds. No row after the cut is looked at, but for who its user is."""
    train = split.events.filter(pl.col(PART) == TRAIN)
    users = split.events.group_by(USER, maintain_order=True)
    return Seen(
        {
            name: Moments.of(train[name], train[USER])
            if wanted.of_events.get(name) == "numeric"
            else Vocabulary.fit(train[name])
            for name in (ITEM, *wanted.of_events)
        },
        users.agg((pl.col(PART) == TRAIN).any().alias(TRAINED)),
    )


def fit(seen: Sequence[Seen]) -> Fitted:
    """The same whatever the ranges were."""
    return Fitted(
        {name: _encoder([part.columns[name] for part in seen]) for name in seen[0].columns},
        pl.concat([part.users for part in seen]),
    )


def feature(name: str, encoder: Encoder) -> Feature:
    """What a model is told of a column."""
    if isinstance(encoder, Scale):
        return Feature(name, "numeric", 1)
    return Feature(name, "categorical", encoder.size)


def fit_column(column: pl.Series, kind: str) -> Encoder:
    """The encoder of a column that is held whole; all of its values are training values."""
    return Scale.fit(column) if kind == "numeric" else Vocabulary.fit(column)


def _encoder(parts: list[Vocabulary | Moments]) -> Encoder:
    numbers = [part for part in parts if isinstance(part, Moments)]
    if numbers:
        return Scale.of(numbers)
    known = [part.values for part in parts if isinstance(part, Vocabulary)]
    return Vocabulary.fit(pl.concat(known))
