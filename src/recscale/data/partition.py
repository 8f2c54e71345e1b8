"""A log of any size, a range of users at a time: what a pass needs in memory is one range."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from recscale.data.order import by_user_and_time
from recscale.data.schema import USER, DataError, Log

ROWS = 8_000_000  # of a range: about a gigabyte while it is sorted and encoded
BATCH = 4_000_000  # rows that are dealt out at a time


@dataclass(frozen=True, slots=True)
class Partitions:
    """P ranges of users in order; end to end they are the log by (USER, TIME, original row).

    Ranges and not hashes of users: what is written range after range is then the one event order,
    whatever their number, and counting users first makes ranges as even as hashes would.
    """

    ranges: tuple[pl.DataFrame | Path, ...]  # rows, or a folder of them in original order

    def __iter__(self) -> Iterator[pl.DataFrame]:
        for rows in self.ranges:
            if isinstance(rows, pl.DataFrame):
                yield rows
            else:
                yield by_user_and_time(pl.read_ipc(rows / "*.arrow"))


def partitions(log: Log, scratch: Path, rows: int = ROWS) -> Partitions:
    """`log` in ranges of about `rows` rows, kept under `scratch` where there are several.

    No user is cut in two, so that a range is larger where one user is. Raises DataError.
    """
    users = log.events.group_by(USER).len().collect(engine="streaming").sort(USER)
    total = int(users["len"].sum())
    if not total:
        raise DataError(f"{', '.join(log.files)}: no events to split")
    if total <= rows:
        return Partitions((by_user_and_time(log.events.collect()),))
    before = users["len"].cum_sum().to_numpy() - users["len"].to_numpy()
    first = np.unique(before // rows, return_index=True)[1]
    _deal(log.events, users[USER].gather(first), scratch)
    return Partitions(tuple(sorted(scratch.iterdir())))


def _deal(events: pl.LazyFrame, first: pl.Series, scratch: Path) -> None:
    """Write each row to the folder of its range, in original order; `first`: its first user."""
    folders = [scratch / f"{number:06}" for number in range(len(first))]
    for folder in folders:
        folder.mkdir(parents=True)
    batches = events.collect_batches(chunk_size=BATCH, maintain_order=True, engine="streaming")
    for number, batch in enumerate(batches):
        owner = first.search_sorted(batch[USER], side="right").to_numpy() - 1
        for place in np.unique(owner):
            mine = batch.filter(pl.Series(owner == place))
            mine.write_ipc(folders[place] / f"{number:09}.arrow", compression="lz4")
