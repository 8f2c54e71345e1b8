"""KuaiRand-Pure: real exposures of short videos, with clicks, likes and long views.

Its publisher's files, or a slice of them: exposures_*.parquet with the same columns beside the two
feature files, and user_sequences.parquet with what each user was shown before the slice begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import polars as pl

from recscale.data.clean import add, check_labels, clean
from recscale.data.download import KUAIRAND_PURE, fetch
from recscale.data.files import RAGGED, read_csv, read_parquet
from recscale.data.history import SourceSettings, in_history
from recscale.data.schema import ITEM, TIME, USER, Columns, DataError, Kind, Log

LOGS = ["log_standard_4_08_to_4_21_pure.csv", "log_standard_4_22_to_5_08_pure.csv"]
USERS, ITEMS = "user_features_pure.csv", "video_features_basic_pure.csv"
RAW = {"user_id": USER, "video_id": ITEM, "time_ms": TIME,
       "is_click": "click", "is_like": "like", "long_view": "long_view", "tab": "tab"}  # fmt: skip
LATE = "earlier exposure not earlier than the log"
# Raw counts beside the ranges, and onehot_feat3 (nearly one value a user), are left out.
USER_FEATURES = ["user_active_degree", "is_lowactive_period", "is_live_streamer", "is_video_author",
                 "follow_user_num_range", "fans_user_num_range", "friend_user_num_range",
                 "register_days_range",
                 *(f"onehot_feat{k}" for k in range(18) if k != 3)]  # fmt: skip
ITEM_FEATURES: dict[str, Kind] = {
    "author_id": "categorical",
    "video_type": "categorical",
    "upload_type": "categorical",
    "music_type": "categorical",
    "video_duration": "numeric",  # milliseconds
}
COLUMNS = Columns(
    item={**ITEM_FEATURES, "tags": "multi"},
    user=dict.fromkeys(USER_FEATURES, "categorical"),
    context={"tab": "categorical", "hour": "categorical"},
    # labels of their own row, features of later ones
    event={"clicked": "categorical", "viewed_long": "categorical"},
    labels=("click", "like", "long_view"),
)
CHINA_MS = 8 * 3_600_000  # the users' clock: the log's own hourmin column is UTC+8


class KuaiRandPure(SourceSettings):
    """1.4 million exposures of 7,583 videos to 27,285 users, April and May 2022."""

    source: Literal["kuairand-pure"] = "kuairand-pure"


@dataclass(frozen=True, slots=True)
class _Files:
    logs: list[Path]
    sequences: Path | None
    users: Path
    items: Path


def read(config: KuaiRandPure, root: Path) -> Log:
    """KuaiRand-Pure/data/ under `root`, else the slice kuairand_pure/, else a download.

    Exposures equal to an earlier one in every column read (2 to 3 % of rows) are dropped.
    Raises DataError.
    """
    files = _find(root)
    raw, ragged = _exposures(files.logs)
    exposures, dropped = clean(raw, str(files.logs[0]), "ms")
    exposures = check_labels(exposures, list(COLUMNS.labels), str(files.logs[0]))
    exposures = exposures.with_columns(clicked=pl.col("click"), viewed_long=pl.col("long_view"))
    rows_read, dropped = raw.height + ragged, add({RAGGED: ragged}, dropped)
    events = exposures
    if files.sequences is not None:
        earlier, late = _earlier(files.sequences, exposures)
        rows_read += earlier.height + late
        dropped = add(dropped, {LATE: late})
        events = pl.concat([earlier, exposures], how="diagonal")
    hour = ((pl.col(TIME) + CHINA_MS) // 3_600_000 % 24).cast(pl.Int8).alias("hour")
    paths = [*files.logs, *([files.sequences] if files.sequences else []), files.users, files.items]
    return Log(
        events=events.lazy().with_columns(hour, in_history(config, COLUMNS.labels)),
        items=_items(files.items),
        users=_users(files.users),
        columns=COLUMNS,
        rows_read=rows_read,
        dropped=dropped,
        files=tuple(map(str, paths)),
    )


def _find(root: Path) -> _Files:
    published, part = root / "KuaiRand-Pure", root / "kuairand_pure"
    shards = sorted(part.glob("exposures_*.parquet"))
    if not published.is_dir() and shards:
        return _Files(shards, part / "user_sequences.parquet", part / USERS, part / ITEMS)
    data = (published if published.is_dir() else fetch(KUAIRAND_PURE, root)) / "data"
    return _Files([data / name for name in LOGS], None, data / USERS, data / ITEMS)


def _exposures(logs: list[Path]) -> tuple[pl.DataFrame, int]:
    """The columns used, whole numbers; and the rows that had another number of fields."""
    frames: list[pl.DataFrame] = []
    ragged = 0
    for path in logs:
        if path.suffix == ".csv":
            frame, wrong = read_csv(path, list(RAW), ",")
            ragged += wrong
        else:
            frame = read_parquet(path, list(RAW))
        frames.append(_whole(frame, path).rename(RAW))
    return pl.concat(frames), ragged


def _whole(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Columns as int64, less the time: an unreadable one is a bad row, to be counted by `clean`.

    Raises DataError naming the first other value that is no whole number: this is another file.
    """
    whole = frame.with_columns(pl.exclude("time_ms").cast(pl.Int64, strict=False))
    for name in frame.columns:
        bad = frame[name].filter(frame[name].is_not_null() & whole[name].is_null())
        if len(bad):
            raise DataError(f"{path}: {name} has the value {bad[0]!r}; want a whole number")
    return whole


def _earlier(path: Path, exposures: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """What users were shown before the log begins: history-only rows, and how many came too late.

    The file tells their order and the last one's time. All of a user's get that time: tied, in
    order, before the first real exposure, which is all that is known about them. They are not
    searched for duplicates: seeing a video twice is an event, not a copy.
    """
    first = exposures.group_by(USER).agg(first=pl.col(TIME).min())
    rows = (
        read_parquet(path, ["user_id", "last_time_ms", "watch_seq"])
        .select(
            pl.col("user_id").alias(USER),
            pl.col("watch_seq").alias(ITEM),
            pl.col("last_time_ms").alias(TIME),
        )
        .explode(ITEM, empty_as_null=False)
        .join(first, on=USER, how="left", maintain_order="left")
    )
    kept = rows.filter(pl.col("first").is_null() | (pl.col(TIME) < pl.col("first")))
    return kept.drop("first"), rows.height - kept.height


def _items(path: Path) -> pl.LazyFrame:
    frame, _ = read_csv(path, ["video_id", "tag", *ITEM_FEATURES], ",")
    return frame.lazy().select(
        pl.col("video_id").cast(pl.Int64).alias(ITEM),
        *(name for name, kind in ITEM_FEATURES.items() if kind == "categorical"),
        pl.col("video_duration").cast(pl.Float64),
        pl.col("tag").fill_null("").str.split(",").list.set_difference([""]).alias("tags"),
    )


def _users(path: Path) -> pl.LazyFrame:
    frame, _ = read_csv(path, ["user_id", *USER_FEATURES], ",")
    return frame.lazy().select(pl.col("user_id").cast(pl.Int64).alias(USER), *USER_FEATURES)
