"""What logs of impressions share: a list shown at once, of which some was clicked."""

from __future__ import annotations

import polars as pl

from recscale.data.clean import Counts, add, check_labels, clean
from recscale.data.clock import Unit
from recscale.data.history import SourceSettings, in_history
from recscale.data.schema import ITEM, TIME, USER, Columns, Log

IMPRESSION = "impression"  # tells two equal lists at one moment apart
LATE = "earlier click not earlier than the first impression"
HOUR_MS = 3_600_000


def hour() -> pl.Expr:
    """The hour of the day, on the clock that the log was written by."""
    return (pl.col(TIME) // HOUR_MS % 24).cast(pl.Int8).alias("hour")


def before(earlier: pl.DataFrame, shown: pl.DataFrame) -> tuple[pl.DataFrame, Counts]:
    """Clicks (USER, ITEM, TIME) from before a log begins, less those that are not; what went.

    A null TIME takes that of the user's first impression, less a millisecond: known is only that
    they came before it, in this order.
    """
    first = shown.group_by(USER).agg(first=pl.col(TIME).min())
    rows = earlier.join(first, on=USER, how="left", maintain_order="left")
    rows = rows.with_columns(pl.coalesce(TIME, pl.col("first") - 1).alias(TIME))
    known = pl.col(TIME).is_not_null() & pl.col(ITEM).is_not_null()
    kept = rows.filter(known & (pl.col("first").is_null() | (pl.col(TIME) < pl.col("first"))))
    return kept.drop("first"), {LATE: rows.height - kept.height}


def shown_rows(
    raw: pl.DataFrame, where: str, unit: Unit, text_format: str | None = None
) -> tuple[pl.DataFrame, Counts]:
    """One row for each item shown, checked: USER, ITEM, TIME in milliseconds, click; what went."""
    kept, dropped = clean(raw, where, unit, text_format)
    return check_labels(kept, ["click"], where).drop(IMPRESSION), dropped


def log(  # noqa: PLR0913, one argument for each part of the log
    config: SourceSettings,
    shown: pl.DataFrame,
    earlier: pl.DataFrame,
    columns: Columns,
    *,
    items: pl.LazyFrame | None,
    users: pl.LazyFrame | None,
    dropped: Counts,
    files: list[str],
) -> Log:
    """History-only rows first, so that they stay ahead where times tie."""
    earlier, late = before(earlier, shown)
    dropped = add(dropped, late)
    events = pl.concat([earlier, shown], how="diagonal_relaxed")
    return Log(
        events=events.lazy().with_columns(hour(), in_history(config, columns.labels)),
        items=items,
        users=users,
        columns=columns,
        rows_read=events.height + sum(dropped.values()),
        dropped=dropped,
        files=tuple(files),
    )
