import subprocess
import sys

import polars as pl
import pytest
from pydantic import TypeAdapter, ValidationError

from recscale import data
from recscale.data.clean import clean
from recscale.data.schema import DataError


def test_a_bare_name_is_a_whole_configuration():
    for name in data.NAMED:
        assert data.named(name).source == name


@pytest.mark.parametrize("name", ["table", "movielens", ""])
def test_an_unknown_name_tells_the_known_ones(name):
    with pytest.raises(DataError, match="want one of ml-1m, ml-100k, kuairand-pure, mind"):
        data.named(name)


def test_settings_of_another_source_are_refused():
    adapter = TypeAdapter(data.DataConfig)
    with pytest.raises(ValidationError, match="Extra inputs"):
        adapter.validate_python({"source": "ml-1m", "users": 5})
    assert adapter.validate_python({"source": "ml-1m", "history": "positive"})


def test_only_rows_equal_in_every_column_are_duplicates():
    rows = [(1, 1, 5, "a"), (1, 1, 5, "b"), (1, 1, 5, "a"), (1, 1, 6, "a"), (1, 1, 5, None)] * 2
    frame = pl.DataFrame(rows, schema=["user", "item", "time", "where"], orient="row")
    kept, dropped = clean(frame, "literal", "ms")
    assert kept.rows() == [rows[0], rows[1], rows[3], rows[4]]
    assert dropped == {"exact duplicate": 6}


def test_cleaning_agrees_with_a_plain_search_for_duplicates():
    frame = pl.select(
        user=pl.int_range(5000) * 7919 % 31, item=pl.int_range(5000) * 104_729 % 7, time=pl.lit(5)
    )
    kept, dropped = clean(frame, "literal", "ms")
    assert kept.equals(frame.unique(maintain_order=True).cast({"time": pl.Int64}))
    assert kept.height + dropped["exact duplicate"] == 5000


def test_the_data_layer_loads_without_torch():
    code = "import sys, recscale.data; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
