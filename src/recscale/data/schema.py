"""The columns of a log, named once, and the value every source returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

USER, ITEM, TIME, PART = "user", "item", "time", "part"
PREFIX = "prefix"  # how many history events of its user a row may see; set by split.assign
IN_HISTORY = "in_history"  # may later rows of the user see this one
RESERVED = frozenset({USER, ITEM, TIME, PART, PREFIX, IN_HISTORY})
INTERACTION = "interaction"  # the label of a log without exposures: one for every event
Kind = Literal["categorical", "numeric", "multi"]


class DataError(ValueError):
    """Input that cannot be used: one line that names the file, what was found, what is allowed."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a log models may read, and how: name -> kind."""

    item: Mapping[str, Kind] = field(default_factory=dict[str, Kind])
    user: Mapping[str, Kind] = field(default_factory=dict[str, Kind])
    context: Mapping[str, Kind] = field(default_factory=dict[str, Kind])  # known at request time
    event: Mapping[str, Kind] = field(default_factory=dict[str, Kind])  # known only afterwards
    labels: tuple[str, ...] = ()  # empty: every event is positive


@dataclass(frozen=True, slots=True)
class Log:
    """A checked behaviour log.

    events: USER and ITEM (integer or text), TIME (int64 milliseconds since 1970), the label columns
    (0, 1, or null where the row is history only), context and event columns, IN_HISTORY (Boolean);
    original row order.
    items, users: ITEM or USER, unique, and the feature columns. multi columns are List(String).
    """

    events: pl.LazyFrame
    items: pl.LazyFrame | None
    users: pl.LazyFrame | None
    columns: Columns
    rows_read: int
    dropped: Mapping[str, int]  # reason -> rows; rows_read = rows in events + all of these
    files: tuple[str, ...]  # what was read, for the digest
