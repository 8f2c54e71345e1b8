"""Taobao's display ads: exposures with clicks, and what the same users did in the shop before.

Ad Display/Click Data on Taobao.com, as Alibaba publishes it: raw_sample.csv, ad_feature.csv,
user_profile.csv and, where it is there, behavior_log.csv.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl

from recscale.data.clean import add, check_labels, clean
from recscale.data.files import RAGGED, read_csv
from recscale.data.history import SourceSettings, in_history
from recscale.data.schema import ITEM, TIME, USER, Columns, Kind, Log

SAMPLE, ADS, PEOPLE, SHOP = (
    "raw_sample.csv",
    "ad_feature.csv",
    "user_profile.csv",
    "behavior_log.csv",
)
USER_FEATURES = ["cms_segid", "cms_group_id", "final_gender_code", "age_level", "pvalue_level",
                 "shopping_level", "occupation"]  # fmt: skip
ITEM_FEATURES: dict[str, Kind] = {
    "cate_id": "categorical",
    "brand": "categorical",
    "campaign_id": "categorical",
    "customer": "categorical",
    "price": "numeric",
}
COLUMNS = Columns(
    item=ITEM_FEATURES,
    user=dict.fromkeys(USER_FEATURES, "categorical"),
    context={"pid": "categorical", "hour": "categorical"},
    event={"action": "categorical"},
    labels=("clk",),
)
CHINA_MS = 8 * 3_600_000  # the users' clock
MOST_BRANDS = 1 << 20


class TaobaoAd(SourceSettings):
    """26 million exposures of 847,000 ads to 1.1 million users, 6 to 13 May 2017."""

    source: Literal["taobao-ad"] = "taobao-ad"
    history: Literal["all", "positive"] = "positive"  # 19 of 20 ads shown are ignored


def read(config: TaobaoAd, root: Path) -> Log:
    """taobao-ad/ under `root`. Raises DataError.

    The shop's log names a category and a brand and no ad. Each such pair becomes an item of its own
    with these two features, which it shares with the ads; it is history and is never shown.
    """
    folder = root / "taobao-ad"
    shown, ragged = read_csv(
        folder / SAMPLE, ["user", "time_stamp", "adgroup_id", "pid", "clk"], ","
    )
    raw = shown.select(
        _whole("user").alias(USER),
        _whole("adgroup_id").alias(ITEM),
        pl.col("time_stamp").alias(TIME),
        "pid",
        "clk",
    )
    ads, dropped = clean(raw, str(folder / SAMPLE), "s")
    ads = check_labels(ads, ["clk"], str(folder / SAMPLE))
    acted = pl.when(pl.col("clk") == 1).then(pl.lit("clk")).otherwise(pl.lit("nonclk"))
    events, pairs = ads.with_columns(action=acted), None
    rows_read, dropped = shown.height + ragged, add({RAGGED: ragged}, dropped)
    if (folder / SHOP).exists():
        did, read_rows, lost = _shop(folder / SHOP)
        pairs = did.select(ITEM, "cate_id", "brand").unique(maintain_order=True)
        events = pl.concat([did.drop("cate_id", "brand"), events], how="diagonal")
        rows_read, dropped = rows_read + read_rows, add(dropped, lost)
    hour = ((pl.col(TIME) + CHINA_MS) // 3_600_000 % 24).cast(pl.Int8).alias("hour")
    names = [SAMPLE, ADS, PEOPLE, *([SHOP] if pairs is not None else [])]
    return Log(
        events=events.lazy().with_columns(hour, in_history(config, COLUMNS.labels)),
        items=_items(folder / ADS, pairs),
        users=_users(folder / PEOPLE),
        columns=COLUMNS,
        rows_read=rows_read,
        dropped=dropped,
        files=tuple(str(folder / name) for name in names),
    )


def _whole(name: str) -> pl.Expr:
    return pl.col(name).cast(pl.Int64, strict=False)


def _text(name: str) -> pl.Expr:
    """NULL is how the publisher writes that nothing is known."""
    return pl.when(pl.col(name) != "NULL").then(pl.col(name)).alias(name)


def _shop(path: Path) -> tuple[pl.DataFrame, int, dict[str, int]]:
    """History-only rows, how many were read, and what went."""
    rows, ragged = read_csv(path, ["user", "time_stamp", "btag", "cate", "brand"], ",")
    pair = -(_whole("cate") * MOST_BRANDS + _whole("brand")) - 1  # ads have the numbers above 0
    raw = rows.select(
        _whole("user").alias(USER),
        pair.alias(ITEM),
        pl.col("time_stamp").alias(TIME),
        pl.col("btag").alias("action"),
        pl.col("cate").alias("cate_id"),
        "brand",
    )
    kept, dropped = clean(raw, str(path), "s")
    return kept, rows.height + ragged, dict(add({RAGGED: ragged}, dropped))


def _items(path: Path, pairs: pl.DataFrame | None) -> pl.LazyFrame:
    rows, _ = read_csv(path, ["adgroup_id", *ITEM_FEATURES], ",")
    texts = [_text(name) for name, kind in ITEM_FEATURES.items() if kind == "categorical"]
    ads = rows.select(
        _whole("adgroup_id").alias(ITEM), *texts, pl.col("price").cast(pl.Float64, strict=False)
    )
    ads = ads.drop_nulls(ITEM)
    return (ads if pairs is None else pl.concat([ads, pairs], how="diagonal")).lazy()


def _users(path: Path) -> pl.LazyFrame:
    rows, _ = read_csv(path, ["userid", *USER_FEATURES], ",")
    known = rows.select(_whole("userid").alias(USER), *map(_text, USER_FEATURES))
    return known.drop_nulls(USER).lazy()
