"""The synthetic log as any other: its truth stays in its folder, out of a model's sight."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from recscale.data.history import in_history
from recscale.data.schema import ITEM, TIME, USER, Columns, Log
from recscale.data.synthetic import CATEGORY, CLICK, SEGMENT, SyntheticConfig, generate

COLUMNS = Columns(
    item={CATEGORY: "categorical"},
    user={SEGMENT: "categorical"},
    context={"hour": "categorical"},
    event={"clicked": "categorical"},
    labels=(CLICK,),
)


def read(config: SyntheticConfig, root: Path) -> Log:
    """Generate the log under `root` where it is not there yet, then scan it."""
    files = generate(config, root)
    events = pl.scan_parquet(files.events).select(
        USER,
        ITEM,
        TIME,
        CLICK,
        pl.col(CLICK).alias("clicked"),  # a label of its own row, a feature of later ones
        (pl.col(TIME) // 3_600_000 % 24).cast(pl.Int8).alias("hour"),
        in_history(config, COLUMNS.labels),
    )
    rows = int(json.loads(files.truth.read_text(encoding="utf-8"))["events"])
    return Log(
        events=events,
        items=pl.scan_parquet(files.items).select(ITEM, CATEGORY),
        users=pl.scan_parquet(files.users).select(USER, SEGMENT),
        columns=COLUMNS,
        rows_read=rows,
        dropped={},
        files=tuple(str(path) for path in files.events),
    )
