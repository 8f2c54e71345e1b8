import polars as pl
import pytest

from recscale.data.schema import Columns, Log


@pytest.fixture
def log():
    """A Log of literal rows: user, item, time, and the label click where rows have four values."""

    def build(rows: list[tuple[object, ...]], in_history: list[bool] | None = None) -> Log:
        names = ["user", "item", "time", "click"][: len(rows[0])]
        frame = pl.DataFrame(rows, schema=names, orient="row")
        seen = in_history or [True] * len(rows)
        events = frame.with_columns(pl.Series("in_history", seen)).lazy()
        labels = ("click",) if "click" in names else ()
        return Log(events, None, None, Columns(labels=labels), len(rows), {}, ("literal",))

    return build
