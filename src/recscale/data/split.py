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
BINS = 1 << 16
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


@dataclass(frozen=True, slots=True)
class Cuts:
    """What of a split concerns the whole log; the rest is decided user by user."""

    valid_from: int  # first millisecond of valid
    test_from: int


def assign(log: Log, config: SplitConfig) -> Split:
    """The whole log, sorted once, each row with its part and its prefix. Raises DataError."""
    events = by_user_and_time(log.events.collect())
    if events.is_empty():
        raise DataError(f"{', '.join(log.files)}: no events to split")
    return assign_users(events, log.columns.labels, cuts(log, config))


def cuts(log: Log, config: SplitConfig) -> Cuts | None:
    """Where `temporal` cuts the time of a log; None for leave_one_out. Raises DataError."""
    if config.protocol == "leave_one_out":
        return None
    times = log.events.filter(labelled(log.columns.labels)).select(TIME)
    count, low, high = (
        times.select(pl.len(), low=pl.col(TIME).min(), high=pl.col(TIME).max())
        .collect(engine="streaming")
        .row(0)
    )
    if not count:
        raise DataError(f"no row has a value in label {log.columns.labels[0]}: nothing to split")
    return Cuts(
        *(
            _ranked(times, count - max(1, round(share * count)), low, high)
            for share in (config.valid + config.test, config.test)
        )
    )


def assign_users(events: pl.DataFrame, labels: tuple[str, ...], cuts: Cuts | None) -> Split:
    """Some users of a log, by (USER, TIME, original row), each row with its part and its prefix."""
    return _leave_one_out(events, labels) if cuts is None else _temporal(events, cuts)


def labelled(labels: tuple[str, ...]) -> pl.Expr:
    """Rows that can be a target: all of a log without labels, else those that carry the first."""
    return pl.col(labels[0]).is_not_null() if labels else pl.lit(value=True)


def positive(labels: tuple[str, ...]) -> pl.Expr:
    """Rows where the user acted; never null."""
    return (pl.col(labels[0]) == 1).fill_null(value=False) if labels else pl.lit(value=True)


def _temporal(events: pl.DataFrame, cuts: Cuts) -> Split:
    valid, test = pl.col(TIME) >= cuts.valid_from, pl.col(TIME) >= cuts.test_from
    part = valid.cast(pl.UInt8) + test.cast(pl.UInt8)
    user = user_codes(events)
    prefix = strict_prefix(
        events[IN_HISTORY].to_numpy(),
        run_starts(user),
        run_starts(user, events[TIME].to_numpy()),
    )
    done = events.with_columns(part.alias(PART), pl.Series(PREFIX, prefix))
    return Split(done, "temporal", cuts.valid_from, cuts.test_from, {})


def _ranked(times: pl.LazyFrame, rank: int, low: int, high: int) -> int:
    """The time that `rank` others come before; all that lie in [low, high], and none is held.

    Counted in ever finer bins, so that any number of events takes a few passes and no memory. What
    happens at this very time is after the cut.
    """
    while low < high:
        width = -(-(high - low + 1) // BINS)
        inside = times.filter(pl.col(TIME).is_between(low, high))
        bins = inside.group_by(bin=(pl.col(TIME) - low) // width).len()
        counted = bins.collect(engine="streaming").sort("bin")
        upto = counted["len"].cum_sum().to_numpy()
        found = int(np.searchsorted(upto, rank, side="right"))
        rank -= int(upto[found - 1]) if found else 0
        low += int(counted["bin"][found]) * width
        high = min(high, low + width - 1)
    return low


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
