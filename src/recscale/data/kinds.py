"""Columns as written to columns as their kind wants them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl

from recscale.data.schema import DataError, Kind


def written_as_integers(values: pl.Series) -> bool:
    """Whether every value of a text column is an integer in its only spelling."""
    number = values.cast(pl.Int64, strict=False)
    return bool(
        ((number.cast(pl.String) == values).fill_null(value=False) | values.is_null()).all()
    )


def ids(values: pl.Series, name: str) -> pl.Series:
    """Integers where all of them are written as integers are, else text: 007 is not 7."""
    text = values.dtype == pl.String
    return settled(values.cast(pl.Int64) if text and written_as_integers(values) else values, name)


def settled(values: pl.Series, name: str) -> pl.Series:
    """As `ids`, where text is known to be text."""
    return (values if values.dtype.is_integer() else values.cast(pl.String)).alias(name)


def features(
    rows: pl.DataFrame,
    kinds: Mapping[str, Kind],
    where: str,
    list_separator: str,
    as_ids: Callable[[pl.Series, str], pl.Series] = ids,
) -> pl.DataFrame:
    """`rows` with each feature as its kind wants it. Raises DataError for a number that is none."""
    for name, kind in kinds.items():
        column = rows[name]
        match kind:
            case "categorical":
                made = as_ids(column, name)
            case "numeric":
                made = column.cast(pl.Float64, strict=False)
                bad = column.filter(column.is_not_null() & made.is_null())
                if len(bad):
                    raise DataError(f"{where}: {name} has the value {bad[0]!r}; want a number")
            case "multi":
                text = column.dtype == pl.String
                made = column.str.split(list_separator) if text else column
                made = made.cast(pl.List(pl.String))
        rows = rows.with_columns(made.alias(name))
    return rows
