"""Any log in CSV, Parquet or JSON lines, through a mapping of columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import Field, model_validator

from recscale.configfile import Settings
from recscale.data.clean import Counts, add, check_labels, clean
from recscale.data.clock import Unit
from recscale.data.files import RAGGED, read_csv, read_jsonl, read_parquet
from recscale.data.history import SourceSettings, in_history
from recscale.data.schema import ITEM, RESERVED, TIME, USER, Columns, DataError, Kind, Log


class SideTable(Settings):
    """A table about items or users: one row a key."""

    path: str
    key: str
    features: dict[str, Kind] = Field(min_length=1)


class TableConfig(SourceSettings):
    """Where the log lies and what its columns mean.

    A column that is both a label and an event feature becomes the feature was_<label>. Rows equal
    in every column named here count as duplicates: where times are coarse, name one that tells
    repeated events apart.
    """

    source: Literal["table"] = "table"
    path: str  # under the data root, or absolute; may be a pattern such as days/*.parquet
    user: str
    item: str
    time: str
    time_unit: Unit  # required: a wrong guess moves every event by decades
    time_format: str | None = None  # of text times, as in strftime; for time_unit datetime
    labels: tuple[str, ...] = ()  # 0, 1, or empty for history-only rows; none: all are positive
    context: dict[str, Kind] = Field(default_factory=dict[str, Kind])
    event: dict[str, Kind] = Field(default_factory=dict[str, Kind])
    at_least: dict[str, float] = Field(default_factory=dict[str, float])  # other rows are dropped
    items: SideTable | None = None
    users: SideTable | None = None
    separator: str = Field(default=",", pattern=r"^[\x01-\x7f]$")  # of CSV fields
    list_separator: str = Field(default="|", min_length=1)  # of text in multi features

    @model_validator(mode="after")
    def _names_are_free(self) -> TableConfig:
        sides = [table.features for table in (self.items, self.users) if table]
        names = [*self.labels, *self.context, *_event_names(self)]
        names += [name for features in sides for name in features]
        for name in names:
            if name in RESERVED:
                raise ValueError(f"{name} is a name of recscale's own; rename that column")
            if names.count(name) > 1:
                raise ValueError(f"{name} is given more than one meaning")
        if "multi" in [*self.context.values(), *self.event.values()]:
            raise ValueError("multi features belong to items or users, not to context or event")
        return self


@dataclass(frozen=True, slots=True)
class _Read:
    rows: pl.DataFrame
    ragged: int
    files: list[Path]


def read(config: TableConfig, root: Path) -> Log:
    """The log under `root`. Raises DataError naming the file, the column, and what there is."""
    columns = [config.user, config.item, config.time, *config.labels, *config.context]
    columns += [*config.event, *config.at_least]
    found = _read(config.path, root, [*dict.fromkeys(columns)], config.separator)
    where = str(found.files[0])
    rows, refused = _large_enough(found.rows, config.at_least)
    raw = rows.select(
        _ids(rows[config.user], USER),
        _ids(rows[config.item], ITEM),
        pl.col(config.time).alias(TIME),
        *config.labels,
        *(pl.col(name) for name in config.context),
        *(pl.col(name).alias(_event_name(config, name)) for name in config.event),
    )
    kept, dropped = clean(raw, where, config.time_unit, config.time_format)
    kept = check_labels(kept, list(config.labels), where)
    event = _event_names(config)
    kept = _features(kept, {**config.context, **event}, where, config.list_separator)
    items = _side(config.items, ITEM, kept.schema[ITEM], root, config)
    users = _side(config.users, USER, kept.schema[USER], root, config)
    return Log(
        events=kept.lazy().with_columns(in_history(config, config.labels)),
        items=items.rows.lazy() if items else None,
        users=users.rows.lazy() if users else None,
        columns=Columns(
            item=config.items.features if config.items else {},
            user=config.users.features if config.users else {},
            context=config.context,
            event=event,
            labels=config.labels,
        ),
        rows_read=found.rows.height + found.ragged,
        dropped=add({RAGGED: found.ragged, **refused}, dropped),
        files=tuple(str(file) for read in (found, items, users) if read for file in read.files),
    )


def _large_enough(rows: pl.DataFrame, least: Mapping[str, float]) -> tuple[pl.DataFrame, Counts]:
    """Rows with numbers as large as they must be, and how many went for the want of which."""
    refused: dict[str, int] = {}
    for name, bound in least.items():
        number = pl.col(name).cast(pl.Float64, strict=False)
        kept = rows.filter((number >= bound).fill_null(value=False))
        refused[f"{name} below {bound:g}, or no number"] = rows.height - kept.height
        rows = kept
    return rows, refused


def _event_name(config: TableConfig, name: str) -> str:
    return f"was_{name}" if name in config.labels else name


def _event_names(config: TableConfig) -> dict[str, Kind]:
    return {_event_name(config, name): kind for name, kind in config.event.items()}


def _read(pattern: str, root: Path, columns: list[str], separator: str) -> _Read:
    """All files that match, in name order. Raises DataError where none does."""
    whole = root / pattern  # an absolute pattern replaces the root
    paths = [whole] if whole.exists() else sorted(Path(whole.anchor).glob(_relative(whole)))
    if not paths:
        raise DataError(f"{whole}: no such file")
    frames: list[pl.DataFrame] = []
    ragged = 0
    for path in paths:
        frame, wrong = _read_one(path, columns, separator)
        frames.append(frame)
        ragged += wrong
    try:
        return _Read(pl.concat(frames, how="vertical_relaxed"), ragged, paths)
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{whole}: its files disagree about a column's type ({error})") from error


def _relative(path: Path) -> str:
    absolute = path.absolute()
    return str(absolute.relative_to(absolute.anchor))


def _read_one(path: Path, columns: list[str], separator: str) -> tuple[pl.DataFrame, int]:
    kind = path.suffixes[-2] if path.suffix == ".gz" and len(path.suffixes) > 1 else path.suffix
    match kind:
        case ".csv" | ".tsv" | ".txt":
            return read_csv(path, columns, separator)
        case ".jsonl" | ".ndjson" | ".json":
            return read_jsonl(path, columns), 0
        case ".parquet":
            return read_parquet(path, columns), 0
        case _:
            raise DataError(f"{path}: want .csv, .tsv, .txt, .jsonl or .json (also .gz), .parquet")


def _ids(values: pl.Series, name: str) -> pl.Series:
    """Integers where all of them are written as integers are, else text: 007 is not 7."""
    if values.dtype == pl.String:
        number = values.cast(pl.Int64, strict=False)
        same = (number.cast(pl.String) == values).fill_null(value=False) | values.is_null()
        return (number if same.all() else values).alias(name)
    return (values if values.dtype.is_integer() else values.cast(pl.String)).alias(name)


def _features(
    rows: pl.DataFrame, kinds: Mapping[str, Kind], where: str, list_separator: str
) -> pl.DataFrame:
    """`rows` with each feature as its kind wants it. Raises DataError for a number that is none."""
    for name, kind in kinds.items():
        column = rows[name]
        match kind:
            case "categorical":
                made = _ids(column, name)
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


def _side(
    table: SideTable | None, key: str, dtype: pl.DataType, root: Path, config: TableConfig
) -> _Read | None:
    """A side table keyed as the events are. Raises DataError where two rows of a key differ."""
    if table is None:
        return None
    found = _read(table.path, root, [table.key, *table.features], config.separator)
    where = str(found.files[0])
    if found.ragged:
        raise DataError(f"{where}: {found.ragged} rows have the {RAGGED}")
    rows = _features(found.rows, table.features, where, config.list_separator)
    # a key that does not fit the type of the events' keys belongs to none of them
    rows = rows.rename({table.key: key}).with_columns(pl.col(key).cast(dtype, strict=False))
    rows = rows.filter(pl.col(key).is_not_null()).unique(maintain_order=True)
    twice = rows[key].filter(rows[key].is_duplicated())
    if len(twice):
        raise DataError(f"{where}: {table.key} {twice[0]!r} has more than one row")
    return _Read(rows, 0, found.files)
