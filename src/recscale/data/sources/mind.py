"""MIND: impressions of news with their clicks, as Microsoft publishes them, or a slice of them.

Published: any number of folders (MINDsmall_train, MINDsmall_dev, ...) with behaviors.tsv and
news.tsv, neither with a header. Slice: exposures_*.parquet, one row for each item shown, beside
impressions_history_*.parquet.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl

from recscale.data.clean import Counts, add
from recscale.data.files import RAGGED, read_lines, read_parquet
from recscale.data.history import SourceSettings
from recscale.data.schema import ITEM, TIME, USER, Columns, DataError, Kind, Log
from recscale.data.sources.impressions import IMPRESSION, log, shown_rows

BEHAVIORS = [IMPRESSION, USER, TIME, "history", "shown"]
NEWS = [ITEM, "category", "subcategory", "title", "abstract", "url", "entities", "mentions"]
ITEM_FEATURES: dict[str, Kind] = {"category": "categorical", "subcategory": "categorical"}
CLOCK = "%m/%d/%Y %I:%M:%S %p"
UNLABELLED = "shown item without a label"  # the challenge's test part has none


class Mind(SourceSettings):
    """News of six weeks of 2019; 37 items an impression, about 4 % of them clicked."""

    source: Literal["mind"] = "mind"
    history: Literal["all", "positive"] = "positive"  # as the publisher's own history column


def read(config: Mind, root: Path) -> Log:
    """mind/ under `root`, else the slice mind_sample/. Raises DataError."""
    published = sorted((root / "mind").rglob("behaviors.tsv"))
    if published:
        return _published(config, published)
    folder = root / "mind_sample"
    shown = sorted(folder.glob("exposures_*.parquet"))
    if not shown:
        raise DataError(f"{root / 'mind'}: no behaviors.tsv below it")
    return _slice(config, shown, sorted(folder.glob("impressions_history_*.parquet")))


def _published(config: Mind, files: list[Path]) -> Log:
    parts = [read_lines(path, "\t", BEHAVIORS) for path in files]
    lines = pl.concat([rows for rows, _ in parts])
    ragged = sum(wrong for _, wrong in parts)
    listed = lines.with_columns(pl.col("shown").str.split(" ")).explode("shown")
    marked = listed.with_columns(pl.col("shown").str.extract_groups(r"^(.+)-([01])$").alias("of"))
    raw = marked.filter(pl.col("of").struct[0].is_not_null()).select(
        IMPRESSION,
        USER,
        pl.col("of").struct[0].alias(ITEM),
        TIME,
        pl.col("of").struct[1].alias("click"),
    )
    unlabelled = {UNLABELLED: marked.height - raw.height, RAGGED: ragged}
    if raw.is_empty():
        raise DataError(f"{files[0]}: no item is shown with a label, as in N55528-1")
    shown, dropped = shown_rows(raw, str(files[0]), "datetime", CLOCK)
    clock = pl.col(TIME).str.to_datetime(CLOCK, strict=False)
    earlier = _first_history(lines.select(USER, clock, pl.col("history").str.split(" ")))
    news = [path.with_name("news.tsv") for path in files]
    columns = _columns(ITEM_FEATURES)
    return log(
        config,
        shown,
        earlier,
        columns,
        items=_news(news),
        users=None,
        dropped=add(dropped, unlabelled),
        files=[str(path) for path in (*files, *news)],
    )


def _slice(config: Mind, files: list[Path], histories: list[Path]) -> Log:
    raw = pl.concat([read_parquet(path, ["imp", "user", "ts", "item", "click"]) for path in files])
    raw = raw.select(
        pl.col("imp").alias(IMPRESSION),
        pl.col("user").alias(USER),
        pl.col("item").alias(ITEM),
        pl.col("ts").alias(TIME),
        "click",
    )
    shown, dropped = shown_rows(raw, str(files[0]), "datetime")
    known = pl.concat([read_parquet(path, ["user", "ts", "hist"]) for path in histories])
    earlier = _first_history(known.rename({"user": USER, "ts": TIME, "hist": "history"}))
    every = [str(path) for path in (*files, *histories)]
    return log(
        config, shown, earlier, _columns({}), items=None, users=None, dropped=dropped, files=every
    )


def _columns(items: dict[str, Kind]) -> Columns:
    return Columns(item=items, context={"hour": "categorical"}, labels=("click",))


def _first_history(lists: pl.DataFrame) -> pl.DataFrame:
    """USER, TIME, history (a list a line) -> the clicks before each user's first impression.

    Later lines repeat them, with the clicks that the log itself holds.
    """
    first = lists.sort(TIME, maintain_order=True).unique(USER, keep="first", maintain_order=True)
    clicks = first.select(
        USER, pl.col("history").alias(ITEM), pl.lit(None, dtype=pl.Int64).alias(TIME)
    )
    return clicks.explode(ITEM, empty_as_null=False).drop_nulls(ITEM)


def _news(files: list[Path]) -> pl.LazyFrame:
    """The articles of all folders; most are in several of them."""
    tables: list[pl.DataFrame] = []
    for path in files:
        rows, wrong = read_lines(path, "\t", NEWS)
        _refuse_ragged({RAGGED: wrong}, path)
        tables.append(rows.select(ITEM, *ITEM_FEATURES))
    return pl.concat(tables).unique(ITEM, keep="first", maintain_order=True).lazy()


def _refuse_ragged(counts: Counts, path: Path) -> None:
    if counts[RAGGED]:
        raise DataError(f"{path}: {counts[RAGGED]} rows have the {RAGGED}; want {len(NEWS)}")
