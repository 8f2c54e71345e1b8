"""One cleaning for every source: each row is kept, or dropped under a reason that is counted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from recscale.data.clock import Unit, milliseconds
from recscale.data.schema import ITEM, TIME, USER, DataError

LATEST_MS = 7_258_118_400_000  # the year 2200: past it, a time was read in the wrong unit
UNUSABLE: tuple[str, ...] = (
    "no user", "no item", "no time", "unreadable time", "time before 1970", "time after 2200"
)  # fmt: skip
DUPLICATE = "exact duplicate"
Counts = Mapping[str, int]


def clean(
    raw: pl.DataFrame, where: str, unit: Unit, text_format: str | None = None
) -> tuple[pl.DataFrame, Counts]:
    """`raw` (USER, ITEM, TIME as written, anything else) with TIME in milliseconds; what went.

    Dropped: rows without user, item or usable time, and rows equal to an earlier one in every
    column. raw.height = rows returned + all counts. Raises DataError where nothing is left.
    """
    kept, dropped = usable(raw, unit, text_format)
    require_rows(kept.height, dropped, where)
    kept, duplicates = drop_duplicates(kept)
    return kept, add(dropped, {DUPLICATE: duplicates})


def usable(
    raw: pl.DataFrame, unit: Unit, text_format: str | None = None
) -> tuple[pl.DataFrame, Counts]:
    """As `clean`, but for rows that are equal; there may be none left."""
    time = milliseconds(raw.schema[TIME], unit, text_format)
    verdict = raw.lazy().select(
        time.alias(TIME),
        no_user=pl.col(USER).is_null(),
        no_item=pl.col(ITEM).is_null(),
        no_time=pl.col(TIME).is_null(),
    )
    reasons = pl.when("no_user").then(1).when("no_item").then(2).when("no_time").then(3)
    reasons = reasons.when(pl.col(TIME).is_null()).then(4).when(pl.col(TIME) < 0).then(5)
    judged = verdict.select(
        TIME, reason=reasons.when(pl.col(TIME) > LATEST_MS).then(6).otherwise(0).cast(pl.UInt8)
    ).collect()
    found = np.bincount(judged["reason"].to_numpy(), minlength=1 + len(UNUSABLE))
    dropped = {name: int(n) for name, n in zip(UNUSABLE, found[1:], strict=True) if n}
    kept = raw.with_columns(judged[TIME])
    if dropped:
        kept = kept.filter(judged["reason"] == 0)
    return kept, dropped


def require_rows(count: int, dropped: Counts, where: str) -> None:
    """Raises DataError that tells why none of the rows is left."""
    if not count:
        raise DataError(f"{where}: no usable row ({_told(dropped) or 'the file has no rows'})")


def drop_duplicates(rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Rows less those equal to an earlier one in every column, and how many those were.

    Full comparison is only paid by rows whose (user, item, time) hash is not alone; a collision
    costs a comparison, never a row.
    """
    hashes = rows.select(USER, ITEM, TIME).hash_rows()
    ordered = np.sort(hashes.to_numpy())
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    del ordered
    if not len(repeated):
        return rows, 0
    suspect = hashes.is_in(pl.Series(repeated).implode())
    suspects = rows.with_row_index("__row").filter(suspect)
    again = suspects.filter(~suspects.drop("__row").is_unique()).filter(
        pl.struct(pl.exclude("__row")).is_first_distinct().not_()
    )
    if again.is_empty():
        return rows, 0
    keep = np.ones(rows.height, dtype=bool)
    keep[again["__row"].to_numpy()] = False
    return rows.filter(keep), again.height


def check_labels(rows: pl.DataFrame, labels: list[str], where: str) -> pl.DataFrame:
    """`rows` with labels as Int8 0, 1 or null. Raises DataError naming the column and the value."""
    for name in labels:
        column = rows[name]
        text = column.dtype == pl.String
        number = column.str.to_lowercase().replace({"true": "1", "false": "0"}) if text else column
        value = number.cast(pl.Float64, strict=False)
        wrong = column.filter(
            column.is_not_null() & ~value.is_in([0.0, 1.0]).fill_null(value=False)
        )
        if len(wrong):
            raise DataError(
                f"{where}: label {name} has the value {wrong[0]!r}; allowed are 0 and 1"
            )
        rows = rows.with_columns(value.cast(pl.Int8).alias(name))
    return rows


def add(first: Counts, second: Counts) -> Counts:
    """Counts added up by reason; reasons that never happened are left out."""
    reasons = [*first, *(name for name in second if name not in first)]
    total = {name: first.get(name, 0) + second.get(name, 0) for name in reasons}
    return {name: count for name, count in total.items() if count}


def _told(counts: Counts) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
