"""A log larger than memory is cleaned in two passes: pieces by row, then shares by user."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from recscale.data.clean import DUPLICATE, Counts, add, check_labels, drop_duplicates
from recscale.data.kinds import features, settled, written_as_integers
from recscale.data.schema import ITEM, USER, DataError, Kind


@dataclass(slots=True)
class Spool:
    """Rows in shares of users, each in original order; equal rows are in one share."""

    folder: Path
    shares: int
    # text column -> whether all of its values so far are integers
    integers: dict[str, bool] = field(default_factory=dict[str, bool])
    shapes: list[pl.DataFrame] = field(default_factory=list[pl.DataFrame])  # empty: types seen
    count: int = 0
    piece: int = 0

    def note(self, columns: Iterable[pl.Series]) -> None:
        """Remember which of them are text that is not all integers."""
        for column in columns:
            if column.dtype == pl.String:
                before = self.integers.get(column.name, True)
                self.integers[column.name] = before and written_as_integers(column)

    def put(self, rows: pl.DataFrame) -> None:
        """Deal the rows of a piece out by a hash of their users."""
        self.piece, self.count = self.piece + 1, self.count + rows.height
        if all(shape.schema != rows.schema for shape in self.shapes):
            self.shapes.append(rows.clear())
        share = (rows[USER].cast(pl.String).hash() % self.shares).to_numpy()
        for place in np.unique(share):
            target = self.folder / f"share-{place:05}"
            target.mkdir(parents=True, exist_ok=True)
            mine = rows.filter(pl.Series(share == place))
            mine.write_ipc(target / f"{self.piece:09}.arrow", compression="lz4")

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """The shares, with the types that the pieces have in common. Raises DataError."""
        shape = self._concat(self.shapes)
        for share in sorted(self.folder.glob("share-*")):
            rows = self._concat([shape, *map(pl.read_ipc, sorted(share.iterdir()))])
            spelled = [
                pl.col(name).cast(pl.Int64)
                for name, integer in self.integers.items()
                if integer and rows.schema[name] == pl.String
            ]
            yield rows.with_columns(spelled)

    def _concat(self, frames: list[pl.DataFrame]) -> pl.DataFrame:
        try:
            return pl.concat(frames, how="vertical_relaxed")
        except pl.exceptions.PolarsError as error:
            raise DataError(f"the log's files disagree about a column's type ({error})") from error


def checked(
    spool: Spool,
    labels: list[str],
    kinds: Mapping[str, Kind],
    where: str,
    list_separator: str,
) -> tuple[pl.LazyFrame, Counts]:
    """The rows of the spool without equal ones, as a log's events want them; what was dropped."""
    done = spool.folder / "checked"
    done.mkdir(parents=True)
    repeated = 0
    for number, rows in enumerate(spool):
        kept, again = drop_duplicates(rows)
        repeated += again
        kept = check_labels(kept, labels, where)
        kept = kept.with_columns(settled(kept[USER], USER), settled(kept[ITEM], ITEM))
        kept = features(kept, kinds, where, list_separator, settled)
        kept.write_parquet(done / f"{number:05}.parquet", compression="lz4")
    return pl.scan_parquet(done / "*.parquet"), add({}, {DUPLICATE: repeated})
