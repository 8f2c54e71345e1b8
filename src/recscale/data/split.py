"""Train, valid and test, and what each request may see: the rule that no result may break."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, model_validator

from recscale.configfile import Settings
from recscale.data.order import by_user_and_time, run_starts, strict_prefix, user_codes
from recscale.data.schema import IN_HISTORY, PART, PREFIX, TIME, DataError, Log

TRAIN, VALID, TEST = 0, 1, 2  # the values of PART
FEW_POSITIVES = "users with fewer than 3 positive events"


class SplitConfig(Settings):
    """How a log is cut. The shares are of labelled events and belong to `temporal`."""

    protocol: Literal["temporal", "leave_one_out"] = "temporal"
    valid: float = Field(default=0.1, gt=0, lt=1)
    test: float = Field(default=0.1, gt=0, lt=1)

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> SplitConfig:
        if self.valid + self.test >= 1:
            raise ValueError(f"valid {self.valid} + test {self.test} leave nothing to train on")
        return self


@dataclass(frozen=True, slots=True)
class Split:
    """A log in the one event order, cut.

    events: the columns of the log by (USER, TIME, original row), and
        PART    UInt8: 0 train, 1 valid, 2 test. A null label is never a target in any part.
        PREFIX  Int32: how many IN_HISTORY rows of its user a row may see: strictly earlier in time
                (temporal) or earlier in order (leave_one_out). It counts IN_HISTORY rows only.
    """

    events: pl.DataFrame
    protocol: Literal["temporal", "leave_one_out"]
    valid_from: int | None  # temporal: first millisecond of valid; None for leave_one_out
    test_from: int | None
    left_out: Mapping[str, int]  # reason -> users without valid and test events; they still train


def assign(log: Log, config: SplitConfig) -> Split:
    """The whole log, sorted once, each row with its part and its prefix. Raises DataError."""
    events = by_user_and_time(log.events.collect())
    if events.is_empty():
        raise DataError(f"{', '.join(log.files)}: no events to split")
    match config.protocol:
        case "temporal":
            return _temporal(events, log.columns.labels, config)
        case "leave_one_out":
            return _leave_one_out(events, log.columns.labels)


def labelled(labels: tuple[str, ...]) -> pl.Expr:
    """Rows that can be a target: all of a log without labels, else those that carry the first."""
    return pl.col(labels[0]).is_not_null() if labels else pl.lit(value=True)


def positive(labels: tuple[str, ...]) -> pl.Expr:
    """Rows where the user acted; never null."""
    return (pl.col(labels[0]) == 1).fill_null(value=False) if labels else pl.lit(value=True)


def _temporal(events: pl.DataFrame, labels: tuple[str, ...], config: SplitConfig) -> Split:
    times = events.lazy().filter(labelled(labels)).select(TIME).collect()[TIME].to_numpy()
    if not len(times):
        raise DataError(f"no row has a value in label {labels[0]}: nothing to split")
    valid_from = _cut(times, config.valid + config.test)
    test_from = _cut(times, config.test)
    part = (pl.col(TIME) >= valid_from).cast(pl.UInt8) + (pl.col(TIME) >= test_from).cast(pl.UInt8)
    user = user_codes(events)
    prefix = strict_prefix(
        events[IN_HISTORY].to_numpy(),
        run_starts(user),
        run_starts(user, events[TIME].to_numpy()),
    )
    done = events.with_columns(part.alias(PART), pl.Series(PREFIX, prefix))
    return Split(done, "temporal", valid_from, test_from, {})


def _cut(times: NDArray[np.int64], share: float) -> int:
    """The time of the first of the last `share` of events; all that happen at it are after it."""
    at = len(times) - max(1, round(share * len(times)))
    return int(np.partition(times, at)[at])


def _leave_one_out(events: pl.DataFrame, labels: tuple[str, ...]) -> Split:
    """Each user's last positive event opens test, the one before it opens valid.

    Rows between two of these (exposures without a click, history-only rows) belong to the earlier
    one, so nothing that happened after a held-out event trains. Users with fewer than three
    positive events only train.
    """
    start = run_starts(user_codes(events))
    acted = events.select(TIME, acted=positive(labels).cast(pl.Int64))["acted"]
    so_far = np.cumsum(acted.to_numpy())
    end = _run_ends(start)
    before_user = np.where(start > 0, so_far[start - 1], 0)
    total, rank = so_far[end] - before_user, so_far - before_user
    held_out = total >= 3
    part = held_out * ((rank >= total - 1).astype(np.uint8) + (rank >= total))
    prefix = strict_prefix(events[IN_HISTORY].to_numpy(), start, np.arange(events.height))
    done = events.with_columns(
        pl.Series(PART, part.astype(np.uint8)),
        pl.Series(PREFIX, prefix),
    )
    few = len(np.unique(start[~held_out]))
    return Split(done, "leave_one_out", None, None, {FEW_POSITIVES: few} if few else {})


def _run_ends(start: NDArray[np.int64]) -> NDArray[np.int64]:
    """[R] the last row of each row's run, from the first."""
    last = np.append(start[1:] != start[:-1], values=True)
    ends = np.flatnonzero(last)
    return ends[np.searchsorted(ends, np.arange(len(start)))]
