"""Times as written to int64 milliseconds since 1970, floored; what cannot be read becomes null."""

from __future__ import annotations

from typing import Literal

import polars as pl

from recscale.data.schema import TIME

Unit = Literal["s", "ms", "us", "ns", "datetime"]
PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def milliseconds(dtype: pl.DataType, unit: Unit, text_format: str | None = None) -> pl.Expr:
    """What turns the TIME column, of `dtype` as read, into milliseconds.

    Columns that are dates already carry their unit; text is read by `text_format` under unit
    datetime, and as a number otherwise.
    """
    raw = pl.col(TIME)
    if dtype == pl.Date:
        return _epoch(raw.cast(pl.Datetime("us")))
    if dtype == pl.Datetime:
        return _epoch(raw)
    if unit == "datetime":
        return _epoch(
            raw.cast(pl.String).str.to_datetime(text_format, time_unit="us", strict=False)
        )
    if dtype.is_integer():
        return _whole(raw.cast(pl.Int64, strict=False), unit)
    if dtype.is_float():
        return _fraction(raw.cast(pl.Float64), unit)
    number = raw.cast(pl.String).str.strip_chars()
    return pl.coalesce(
        _whole(number.cast(pl.Int64, strict=False), unit),
        _fraction(number.cast(pl.Float64, strict=False), unit),
    )


def _epoch(moment: pl.Expr) -> pl.Expr:
    return moment.dt.timestamp("us").floordiv(1_000)


def _whole(number: pl.Expr, unit: Unit) -> pl.Expr:
    """int64 throughout: float64 cannot hold nanoseconds since 1970."""
    per_second = PER_SECOND[unit]
    if per_second >= 1_000:
        return number.floordiv(per_second // 1_000)
    # a time too large to be seconds must stay too large, not wrap around
    return number.clip(-(10**15), 10**15) * (1_000 // per_second)


def _fraction(number: pl.Expr, unit: Unit) -> pl.Expr:
    """Rounded to the microsecond first: 0.318 s is stored as 0.31799..., and means 318 ms."""
    microseconds = (number * (1_000_000 / PER_SECOND[unit])).round()
    usable = microseconds.is_finite() & (microseconds.abs() < 2**62)
    return pl.when(usable).then(microseconds).cast(pl.Int64).floordiv(1_000)
