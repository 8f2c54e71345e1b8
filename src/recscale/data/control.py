"""The same log with its clocks or its order spoilt: what a gain from forgetting must not survive.

Applied after the split, so that every control has the parts, targets and prefixes of the log itself
and differs in what models can read off it. N events, user by user.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recscale.data.order import run_starts, user_codes
from recscale.data.schema import PART, PREFIX, TIME, USER
from recscale.data.split import TRAIN

Control = Literal["none", "permute_gaps", "hour", "shuffle_order"]
HOUR_MS = 3_600_000
WHERE = (USER, TIME, PART, PREFIX)  # stay in place when events change places


def spoilt(events: pl.DataFrame, control: Control, generator: np.random.Generator) -> pl.DataFrame:
    """Events of a split, in its order.

    permute_gaps: each user's times between events change places; order and sum stay.
    hour: times are cut to the hour; within it order stays.
    shuffle_order: a user's events of the training part change places; times stay.
    """
    match control:
        case "none":
            return events
        case "permute_gaps":
            start = run_starts(user_codes(events))
            times = _permuted_gaps(events[TIME].to_numpy(), start, generator)
            return events.with_columns(pl.Series(TIME, times))
        case "hour":
            return events.with_columns(pl.col(TIME) // HOUR_MS * HOUR_MS)
        case "shuffle_order":
            start = run_starts(user_codes(events))
            movable = events[PART].to_numpy() == TRAIN
            order = _shuffled(start, movable, generator)
            moved = events.select(pl.exclude(WHERE))[order]
            return events.with_columns(moved.get_columns()).select(events.columns)


def _permuted_gaps(
    times: NDArray[np.int64], start: NDArray[np.int64], generator: np.random.Generator
) -> NDArray[np.int64]:
    """[N] times, [N] first row of each row's user -> [N]."""
    gap = np.diff(times, prepend=times[:1])
    first = start == np.arange(len(times))
    order = _shuffled(start, ~first, generator)
    gap = np.where(first, 0, gap[order])
    total = np.cumsum(gap)
    return times[start] + total - total[start]


def _shuffled(
    start: NDArray[np.int64], movable: NDArray[np.bool_], generator: np.random.Generator
) -> NDArray[np.int64]:
    """[N] rows in which movable rows of a user change places and all others keep theirs."""
    places = np.flatnonzero(movable)
    drawn = np.lexsort((generator.random(len(places)), start[places]))
    order = np.arange(len(start))
    order[places] = places[drawn]
    return order
