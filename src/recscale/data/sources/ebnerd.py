"""EB-NeRD: impressions of a Danish newspaper with their clicks, as Ekstra Bladet publishes them.

Any number of folders (train, validation) with behaviors.parquet and history.parquet, and
articles.parquet above them, where there is one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl

from recscale.data.files import read_parquet
from recscale.data.history import SourceSettings
from recscale.data.schema import ITEM, TIME, USER, Columns, DataError, Kind, Log
from recscale.data.sources.impressions import IMPRESSION, log, shown_rows

USER_FEATURES = ["is_sso_user", "gender", "postcode", "age", "is_subscriber"]
ITEM_FEATURES: dict[str, Kind] = {
    "category": "categorical",
    "article_type": "categorical",
    "premium": "categorical",
}


class Ebnerd(SourceSettings):
    """News of seven weeks of 2023; a dozen items an impression, one of them clicked."""

    source: Literal["ebnerd"] = "ebnerd"
    history: Literal["all", "positive"] = "positive"  # as the publisher's own history


def read(config: Ebnerd, root: Path) -> Log:
    """ebnerd/ under `root`, else the publisher's test fixture ebnerd_test/. Raises DataError."""
    folder = next(
        (root / name for name in ("ebnerd", "ebnerd_test") if (root / name).is_dir()), None
    )
    files = sorted(folder.rglob("behaviors.parquet")) if folder else []
    if not folder or not files:
        raise DataError(f"{root / 'ebnerd'}: no behaviors.parquet below it")
    names = ["impression_id", "user_id", "impression_time", "device_type", "article_ids_inview",
             "article_ids_clicked", *USER_FEATURES]  # fmt: skip
    lists = pl.concat([read_parquet(path, names) for path in files], how="vertical_relaxed")
    shown, dropped = shown_rows(_shown(lists), str(files[0]), "datetime")
    histories = [path.with_name("history.parquet") for path in files]
    articles = sorted(folder.rglob("articles.parquet"))[:1]
    return log(
        config,
        shown,
        _earlier(histories),
        Columns(
            item=ITEM_FEATURES if articles else {},
            user=dict.fromkeys(USER_FEATURES, "categorical"),
            context={"hour": "categorical", "device_type": "categorical"},
            labels=("click",),
        ),
        items=_articles(articles[0]) if articles else None,
        users=_users(lists),
        dropped=dropped,
        files=[str(path) for path in (*files, *histories, *articles)],
    )


def _shown(lists: pl.DataFrame) -> pl.DataFrame:
    """One row for each article in view; clicked articles that were not are none of them."""
    return (
        lists.with_columns(pl.col("article_ids_inview").alias(ITEM))
        .explode(ITEM, empty_as_null=False)
        .select(
            pl.col("impression_id").alias(IMPRESSION),
            pl.col("user_id").cast(pl.Int64).alias(USER),
            pl.col(ITEM).cast(pl.Int64),
            pl.col("impression_time").alias(TIME),
            pl.col(ITEM).is_in("article_ids_clicked").cast(pl.Int8).alias("click"),
            "device_type",
        )
    )


def _earlier(files: list[Path]) -> pl.DataFrame:
    """What users clicked in the weeks before, with its time; folders overlap in it."""
    columns = ["user_id", "article_id_fixed", "impression_time_fixed"]
    rows = pl.concat([read_parquet(path, columns) for path in files], how="vertical_relaxed")
    clicks = rows.select(
        pl.col("user_id").cast(pl.Int64).alias(USER),
        pl.col("article_id_fixed").alias(ITEM),
        pl.col("impression_time_fixed").alias(TIME),
    ).explode(ITEM, TIME, empty_as_null=False)
    at = pl.col(TIME).dt.timestamp("us").floordiv(1_000)
    return clicks.with_columns(pl.col(ITEM).cast(pl.Int64), at).unique(maintain_order=True)


def _users(lists: pl.DataFrame) -> pl.LazyFrame:
    """Features of each user as they stood at the first impression."""
    first = lists.sort("impression_time", maintain_order=True)
    first = first.unique("user_id", keep="first", maintain_order=True)
    text = [pl.col(name).cast(pl.String) for name in USER_FEATURES]
    return first.lazy().select(pl.col("user_id").cast(pl.Int64).alias(USER), *text)


def _articles(path: Path) -> pl.LazyFrame:
    rows = read_parquet(path, ["article_id", *ITEM_FEATURES]).lazy()
    text = [pl.col(name).cast(pl.String) for name in ITEM_FEATURES]
    return rows.select(pl.col("article_id").cast(pl.Int64).alias(ITEM), *text)
