import gzip
import json
from datetime import datetime

import polars as pl
import pytest
from pydantic import ValidationError

from recscale import data
from recscale.data import files
from recscale.data.schema import DataError
from recscale.data.sources.table import SideTable, TableConfig

HEAD = "who,what,when,click\n"
PACKED = gzip.compress(HEAD.encode() * 99, mtime=0)  # a test is named by it: no clock in it


def config(path="log.csv", **settings):
    given = {"user": "who", "item": "what", "time": "when", "time_unit": "s", **settings}
    return TableConfig(path=path, **given)


@pytest.fixture
def load(tmp_path):
    def write_and_load(text, **settings):
        raw = text if isinstance(text, bytes) else text.encode()
        (tmp_path / settings.setdefault("path", "log.csv")).write_bytes(raw)
        return data.load(config(**settings), tmp_path)

    return write_and_load


def rows(log, *names):
    return log.events.select(*(names or ("user", "item", "time"))).collect().rows()


def refused(load, text, **settings):
    with pytest.raises(DataError) as error:
        load(text, **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_rows_are_kept_in_their_order_with_times_in_milliseconds(load):
    log = load(HEAD + "2,b,20,0\n1,a,10,1\n", labels=["click"], event={"click": "categorical"})
    assert rows(log, "user", "item", "time", "click", "was_click", "in_history") == [
        (2, "b", 20_000, 0, 0, True),
        (1, "a", 10_000, 1, 1, True),
    ]
    assert log.columns.event == {"was_click": "categorical"}


def test_bad_rows_are_dropped_under_a_counted_reason_and_add_up(load):
    log = load(
        HEAD
        + ",a,1,0\n1,,1,0\n1,a,,0\n1,a,soon,0\n1,a,-5,0\n1,a,9999999999999,0\n"
        + "1,a,7,0\n1,a,7,0\n1,a,7,1\n1,a\n1,a,7,0,9\n"
    , labels=["click"])  # fmt: skip
    assert log.dropped == {
        "wrong number of fields": 2,
        "no user": 1,
        "no item": 1,
        "no time": 1,
        "unreadable time": 1,
        "time before 1970": 1,
        "time after 2200": 1,
        "exact duplicate": 1,
    }
    assert rows(log, "item", "time", "click") == [("a", 7000, 0), ("a", 7000, 1)]
    assert log.rows_read == 11 == len(rows(log)) + sum(log.dropped.values())


def test_a_row_one_field_short_is_found_without_any_long_one(load):
    log = load(HEAD + "1,a,5\n1,b,6,0\n")
    assert (rows(log), log.dropped) == ([(1, "b", 6000)], {"wrong number of fields": 1})


def test_a_long_row_does_not_make_up_for_a_short_one(load):
    log = load("who,what,when\n1,a\n2,b,6,9\n3,c,7\n")
    assert (rows(log), log.dropped) == ([(3, "c", 7000)], {"wrong number of fields": 2})


def test_a_long_file_is_checked_across_its_blocks(tmp_path, load, monkeypatch):
    monkeypatch.setattr(files, "BLOCK", 16)
    text = "who,what,when\n" + "".join(f"{n},caf\u00e9,{n}\n" for n in range(100))
    assert len(rows(load(text))) == 100
    assert load(text + "1,a\n").dropped == {"wrong number of fields": 1}
    message = refused(load, text.encode() + b"1,\xc3,1\n")
    assert message == f"{tmp_path / 'log.csv'}, line 102: not UTF-8 text"


def test_quoted_separators_and_line_ends_are_not_ragged(load):
    log = load('who,what,when\r\n1,"a,\nb",5\r\n\r\n2,"say ""x""",6\r\n')
    assert rows(log) == [(1, "a,\nb", 5000), (2, 'say "x"', 6000)]
    assert (log.rows_read, log.dropped) == (2, {})


def test_ids_become_integers_only_where_all_are_written_as_such(load):
    log = load("who,what,when\n007,12,1\n7,13,2\n")
    assert rows(log, "user", "item") == [("007", 12), ("7", 13)]


@pytest.mark.parametrize(
    ("unit", "written", "milliseconds"),
    [
        ("s", "1396437466.94", 1396437466940),
        ("s", "1396438212.318", 1396438212318),
        ("s", "1396438212.3189", 1396438212318),
        ("s", "16777217", 16777217000),
        ("ms", "1396438212318", 1396438212318),
        ("us", "1396438212318999", 1396438212318),
        ("ns", "1396438212318999999", 1396438212318),
        ("s", "1.5e9", 1_500_000_000_000),
    ],
)
def test_every_unit_is_floored_to_milliseconds_without_passing_float32(
    load, unit, written, milliseconds
):
    """Hazard 14."""
    log = load(f"who,what,when\n1,a,{written}\n", time_unit=unit)
    assert rows(log, "time") == [(milliseconds,)]


def test_text_times_are_read_by_their_format(load):
    settings = {"time_unit": "datetime", "time_format": "%d.%m.%Y %H:%M"}
    log = load("who,what,when\n1,a,02.01.1970 00:01\n1,b,yesterday\n", **settings)
    assert rows(log) == [(1, "a", 86_460_000)]
    assert log.dropped == {"unreadable time": 1}


def test_parquet_carries_float_seconds_and_dates(tmp_path):
    frame = pl.DataFrame({"who": [1, 1], "what": ["a", "b"], "when": [1396437466.94, None]})
    frame.write_parquet(tmp_path / "log.parquet")
    log = data.load(config("log.parquet"), tmp_path)
    assert (rows(log), log.dropped) == ([(1, "a", 1396437466940)], {"no time": 1})
    dated = frame.with_columns(when=pl.lit(datetime(1970, 1, 2, 0, 0, 0, 1_999)))
    dated.write_parquet(tmp_path / "log.parquet")
    assert rows(data.load(config("log.parquet"), tmp_path), "time") == [(86_400_001,)] * 2


def test_json_lines_read_packed_or_not(load):
    lines = [{"who": "x", "what": 3, "when": 1, "more": []}, {"who": None, "what": 4, "when": 2}]
    text = "\n".join(map(json.dumps, lines)).encode()
    plain = load(text, path="log.jsonl")
    packed = load(gzip.compress(text), path="log.jsonl.gz")
    assert rows(plain) == rows(packed) == [("x", 3, 1000)]
    assert plain.dropped == {"no user": 1}


def test_a_pattern_reads_all_its_files_in_name_order(tmp_path):
    (tmp_path / "day2.csv").write_text("who,what,when\n1,b,2\n")
    (tmp_path / "day1.csv").write_text("what,who,when\na,1,1\n")
    log = data.load(config("day*.csv"), tmp_path)
    assert rows(log) == [(1, "a", 1000), (1, "b", 2000)]
    assert [name[-8:] for name in log.files] == ["day1.csv", "day2.csv"]


def test_history_positive_hides_exposures_that_were_not_taken(load):
    text = HEAD + "1,a,1,0\n1,b,2,1\n1,c,3,\n"
    log = load(text, labels=["click"], history="positive")
    assert rows(log, "click", "in_history") == [(0, False), (1, True), (None, True)]
    assert rows(load(text, labels=["click"]), "in_history") == [(True,)] * 3


def test_side_tables_join_on_the_type_of_the_events(load, tmp_path):
    (tmp_path / "items.csv").write_text("id,price,tags\na,1.5,x|y\nb,,\nb,,\n")
    log = load(HEAD + "1,a,1,0\n", items=SideTable(
        path="items.csv", key="id", features={"price": "numeric", "tags": "multi"}
    ))  # fmt: skip
    assert log.items is not None
    assert log.items.collect().rows() == [("a", 1.5, ["x", "y"]), ("b", None, None)]


def test_a_side_table_with_two_different_rows_for_a_key_is_refused(load, tmp_path):
    (tmp_path / "items.csv").write_text("id,price\na,1\na,2\n")
    side = SideTable(path="items.csv", key="id", features={"price": "numeric"})
    assert refused(load, HEAD + "1,a,1,0\n", items=side).endswith("id 'a' has more than one row")


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        (b"", {}, "log.csv: the file is empty"),
        (b"\n\n", {}, "log.csv: the file is empty"),
        (b"who,what,when\n", {}, "no usable row (the file has no rows)"),
        (b"who,what,when\n1,,1\n", {}, "no usable row (1 no item)"),
        (b"who,what\n1,2\n", {}, "log.csv: no column when; it has who, what"),
        (b"who,what,when\n1,a,1\n1,\xff,1\n", {}, "log.csv, line 3: not UTF-8 text"),
        (PACKED[:-9], {"path": "l.csv.gz"}, "damaged or truncated gzip"),
        (b"plain", {"path": "l.csv.gz"}, "damaged or truncated gzip"),
        (b"plain", {"path": "l.parquet"}, "l.parquet: cannot be read"),
        (b'{"who": 1,\n', {"path": "l.jsonl"}, "l.jsonl: cannot be read"),
        (b'{"who": 1}\n', {"path": "l.jsonl"}, "l.jsonl: no column what, when; it has who"),
        (b'who,what,when\n1,"a,1\n2,b,2\n', {}, "log.csv, line 3: unexpected end of data"),
        (b"plain", {"path": "l.xlsx"}, "l.xlsx: want .csv"),
        (
            b"who,what,when,click\n1,a,1,2\n",
            {"labels": ["click"]},
            "click has the value '2'; allow",
        ),
        (b"who,what,when,click\n1,a,1,no\n", {"labels": ["click"]}, "click has the value 'no'"),
        (b"who,what,when,n\n1,a,1,x\n", {"event": {"n": "numeric"}}, "n has the value 'x'; want a"),
    ],
)
def test_unusable_input_is_one_line_that_names_file_and_cause(load, text, settings, message):
    assert message in refused(load, text, **settings)


def test_a_missing_file_is_named(tmp_path):
    for name in ["nowhere.csv", "no*.csv", "no/where.parquet"]:
        with pytest.raises(DataError, match="no such file"):
            data.load(config(name), tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"context": {"time": "numeric"}}, "time is a name of recscale's own"),
        ({"context": {"a": "numeric"}, "event": {"a": "numeric"}}, "a is given more than one"),
        ({"context": {"a": "multi"}}, "multi features belong to items or users"),
        ({"time_unit": "days"}, "time_unit"),
    ],
)
def test_a_mapping_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ValidationError, match=message):
        config(**settings)


def test_the_unit_of_time_must_be_given():
    with pytest.raises(ValidationError, match="time_unit"):
        TableConfig.model_validate({"path": "x", "user": "u", "item": "i", "time": "t"})


def test_rows_below_what_a_column_must_reach_are_dropped_and_counted(load):
    log = load(
        "who,what,when,count\n1,5,10,2\n1,5,11,-2\n1,6,12,0\n1,7,13,many\n1,8,14,1\n",
        at_least={"count": 1},
    )
    assert rows(log) == [(1, 5, 10_000), (1, 8, 14_000)]
    assert log.dropped == {"count below 1, or no number": 3}
