"""Any log in CSV, Parquet or JSON lines, through a mapping of columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import Field, model_validator

from recscale.configfile import Settings
from recscale.data.clean import UNUSABLE, Counts, add, check_labels, clean, require_rows, usable
from recscale.data.clock import Unit
from recscale.data.files import RAGGED, read_csv, read_jsonl, read_parquet
from recscale.data.history import SourceSettings, in_history
from recscale.data.kinds import features, ids
from recscale.data.pieces import pieces
from recscale.data.schema import ITEM, RESERVED, TIME, USER, Columns, DataError, Kind, Log
from recscale.data.spool import Spool, checked

HELD = 1 << 29  # bytes of files that are read at once: a few times as much memory


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


@dataclass(frozen=True, slots=True)
class _Events:
    rows: pl.LazyFrame
    rows_read: int
    dropped: Counts


def read(config: TableConfig, root: Path, room: Path | None = None, held: int = HELD) -> Log:
    """The log under `root`. Raises DataError naming the file, the column, and what there is.

    Files of more than `held` bytes are read piece by piece, by way of the folder `room`.
    """
    paths = _paths(config.path, root)
    large = room is not None and sum(path.stat().st_size for path in paths) > held
    found = _spooled(config, paths, room, held) if room and large else _held(config, paths)
    types = found.rows.collect_schema()
    items = _side(config.items, ITEM, types[ITEM], root, config)
    users = _side(config.users, USER, types[USER], root, config)
    sides = [path for side in (items, users) if side for path in side.files]
    return Log(
        events=found.rows.with_columns(in_history(config, config.labels)),
        items=items.rows.lazy() if items else None,
        users=users.rows.lazy() if users else None,
        columns=Columns(
            item=config.items.features if config.items else {},
            user=config.users.features if config.users else {},
            context=config.context,
            event=_event_names(config),
            labels=config.labels,
        ),
        rows_read=found.rows_read,
        dropped=found.dropped,
        files=tuple(str(path) for path in [*paths, *sides]),
    )


def _held(config: TableConfig, paths: list[Path]) -> _Events:
    """All events at once."""
    found, where = _read(paths, _columns(config), config.separator), str(paths[0])
    large, refused = _large_enough(found.rows, config.at_least)
    raw = _named(large, config)
    raw = raw.with_columns(ids(raw[USER], USER), ids(raw[ITEM], ITEM))
    kept, dropped = clean(raw, where, config.time_unit, config.time_format)
    kept = check_labels(kept, list(config.labels), where)
    kept = features(kept, _kinds(config), where, config.list_separator)
    rows_read = found.rows.height + found.ragged
    return _Events(kept.lazy(), rows_read, add({RAGGED: found.ragged, **refused}, dropped))


def _spooled(config: TableConfig, paths: list[Path], room: Path, held: int) -> _Events:
    """The same events, a piece at a time; those of a user stay in their order."""
    shares = 1 + sum(path.stat().st_size for path in paths) // max(1, held)
    spool, where = Spool(room, shares), str(paths[0])
    kinds = _kinds(config)
    spelled = [name for name, kind in kinds.items() if kind == "categorical"]
    rows_read = 0
    refusals = _large_enough(pl.DataFrame(schema=_columns(config)), config.at_least)[1]
    dropped = dict.fromkeys([RAGGED, *refusals, *UNUSABLE], 0)
    for path in paths:
        for frame, ragged in _pieces(path, _columns(config), config.separator, max(1, held // 8)):
            large, refused = _large_enough(frame, config.at_least)
            raw = _named(large, config)
            spool.note([raw[USER], raw[ITEM]])
            kept, lost = usable(raw, config.time_unit, config.time_format)
            spool.note([kept[name] for name in spelled])
            rows_read += frame.height + ragged
            for reason, count in {RAGGED: ragged, **refused, **lost}.items():
                dropped[reason] += count
            spool.put(kept)
    require_rows(spool.count, add(dropped, {}), where)
    rows, repeated = checked(spool, list(config.labels), kinds, where, config.list_separator)
    return _Events(rows, rows_read, add(dropped, repeated))


def _large_enough(rows: pl.DataFrame, least: Mapping[str, float]) -> tuple[pl.DataFrame, Counts]:
    """Rows with numbers as large as they must be, and how many went for the want of which."""
    refused: dict[str, int] = {}
    for name, bound in least.items():
        number = pl.col(name).cast(pl.Float64, strict=False)
        kept = rows.filter((number >= bound).fill_null(value=False))
        refused[f"{name} below {bound:g}, or no number"] = rows.height - kept.height
        rows = kept
    return rows, refused


def _columns(config: TableConfig) -> list[str]:
    own = [config.user, config.item, config.time, *config.labels, *config.context, *config.event]
    return [*dict.fromkeys([*own, *config.at_least])]


def _named(rows: pl.DataFrame, config: TableConfig) -> pl.DataFrame:
    """Columns as written, under the names that they have in a log."""
    return rows.select(
        pl.col(config.user).alias(USER),
        pl.col(config.item).alias(ITEM),
        pl.col(config.time).alias(TIME),
        *config.labels,
        *(pl.col(name) for name in config.context),
        *(pl.col(name).alias(_event_name(config, name)) for name in config.event),
    )


def _kinds(config: TableConfig) -> dict[str, Kind]:
    return {**config.context, **_event_names(config)}


def _event_name(config: TableConfig, name: str) -> str:
    return f"was_{name}" if name in config.labels else name


def _event_names(config: TableConfig) -> dict[str, Kind]:
    return {_event_name(config, name): kind for name, kind in config.event.items()}


def _paths(pattern: str, root: Path) -> list[Path]:
    """All files that match, in name order. Raises DataError where none does."""
    whole = root / pattern  # an absolute pattern replaces the root
    paths = [whole] if whole.exists() else sorted(Path(whole.anchor).glob(_relative(whole)))
    if not paths:
        raise DataError(f"{whole}: no such file")
    return paths


def _read(paths: list[Path], columns: list[str], separator: str) -> _Read:
    """All of them at once."""
    frames: list[pl.DataFrame] = []
    ragged = 0
    for path in paths:
        frame, wrong = _read_one(path, columns, separator)
        frames.append(frame)
        ragged += wrong
    try:
        return _Read(pl.concat(frames, how="vertical_relaxed"), ragged, paths)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{paths[0]}: the log's files disagree about a column's type ({error})"
        ) from error


def _relative(path: Path) -> str:
    absolute = path.absolute()
    return str(absolute.relative_to(absolute.anchor))


def _suffix(path: Path) -> str:
    return path.suffixes[-2] if path.suffix == ".gz" and len(path.suffixes) > 1 else path.suffix


def _pieces(
    path: Path, columns: list[str], separator: str, size: int
) -> Iterable[tuple[pl.DataFrame, int]]:
    """JSON lines come whole: what a field is, is known from all of them."""
    if _suffix(path) in (".csv", ".tsv", ".txt", ".parquet"):
        return pieces(path, columns, separator, size)
    return [_read_one(path, columns, separator)]


def _read_one(path: Path, columns: list[str], separator: str) -> tuple[pl.DataFrame, int]:
    match _suffix(path):
        case ".csv" | ".tsv" | ".txt":
            return read_csv(path, columns, separator)
        case ".jsonl" | ".ndjson" | ".json":
            return read_jsonl(path, columns), 0
        case ".parquet":
            return read_parquet(path, columns), 0
        case _:
            raise DataError(f"{path}: want .csv, .tsv, .txt, .jsonl or .json (also .gz), .parquet")


def _side(
    table: SideTable | None, key: str, dtype: pl.DataType, root: Path, config: TableConfig
) -> _Read | None:
    """A side table keyed as the events are. Raises DataError where two rows of a key differ."""
    if table is None:
        return None
    paths = _paths(table.path, root)
    found = _read(paths, [table.key, *table.features], config.separator)
    where = str(found.files[0])
    if found.ragged:
        raise DataError(f"{where}: {found.ragged} rows have the {RAGGED}")
    rows = features(found.rows, table.features, where, config.list_separator)
    # a key that does not fit the type of the events' keys belongs to none of them
    rows = rows.rename({table.key: key}).with_columns(pl.col(key).cast(dtype, strict=False))
    rows = rows.filter(pl.col(key).is_not_null()).unique(maintain_order=True)
    twice = rows[key].filter(rows[key].is_duplicated())
    if len(twice):
        raise DataError(f"{where}: {table.key} {twice[0]!r} has more than one row")
    return _Read(rows, 0, found.files)
