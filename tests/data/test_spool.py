"""A table that is read in pieces is the log that reading all of it gives."""

from pathlib import Path

import polars as pl
import pytest

from recscale.data.pieces import pieces
from recscale.data.schema import DataError, Log
from recscale.data.sources.table import SideTable, TableConfig, read
from recscale.data.split import SplitConfig
from recscale.features.config import FeaturesConfig
from recscale.features.encode import write

HEAD = "who,what,when,click,hour,price\n"


def rows(first: int, last: int) -> str:
    """Users interleaved, ties, exact duplicates far apart, rows that cannot be used."""
    made = [
        f'{i % 7},"{i * 5 % 23}",{1000 + i // 4},{i % 2},{"am" if i % 3 else "pm, late"},{i / 8}'
        for i in range(first, last)
    ]
    text = "\n".join(
        line.replace("pm, late", '"pm, \nlate"') if "late" in line else line for line in made
    )
    return f"{text}\n,4,1,1,am,1\n3,,5,0,am,1\n3,4,never,0,am,1\n3,4,1009\n"


def config(path: str, **settings: object) -> TableConfig:
    meaning = {
        "user": "who",
        "item": "what",
        "time": "when",
        "time_unit": "s",
        "labels": ("click",),
    }
    features = {"context": {"hour": "categorical"}, "event": {"price": "numeric"}}
    return TableConfig.model_validate({"path": path, **meaning, **features, **settings})


def in_order(log: Log) -> pl.DataFrame:
    """What of the order of rows a log promises: that of each user."""
    return log.events.collect().sort("user", maintain_order=True)


def assert_same(settings: TableConfig, root: Path, held: int) -> None:
    whole, cut = read(settings, root), read(settings, root, root / f"room-{held}", held)
    assert (cut.rows_read, dict(cut.dropped)) == (whole.rows_read, dict(whole.dropped))
    assert in_order(cut).equals(in_order(whole))
    assert in_order(cut).schema == in_order(whole).schema
    for name, log in (("whole", whole), ("cut", cut)):
        folder = root / f"{name}-{held}"
        write(log, SplitConfig(), FeaturesConfig(), "ab" * 8, folder, rows=40)
    made = [
        sorted(p for p in (root / f"{n}-{held}").rglob("*") if p.is_file())
        for n in ("whole", "cut")
    ]
    assert [p.read_bytes() for p in made[0]] == [p.read_bytes() for p in made[1]]


@pytest.mark.parametrize("held", [200, 1000, 4000])
def test_csv_files_in_pieces_give_the_same_log_and_the_same_folder(held: int, tmp_path: Path):
    """Equal rows in different files, pieces that end inside quotes, ragged and unusable rows."""
    (tmp_path / "a.csv").write_text(HEAD + rows(0, 60))
    (tmp_path / "b.csv").write_text(HEAD + rows(40, 100))
    assert_same(config("*.csv"), tmp_path, held)


@pytest.mark.parametrize("held", [100, 2000])
def test_parquet_files_of_different_types_give_the_same_log(held: int, tmp_path: Path):
    frame = pl.DataFrame(
        {
            "who": [f"u{i % 9}" for i in range(90)],
            "what": [i * 7 % 11 for i in range(90)],
            "when": [i // 3 for i in range(90)],
            "click": [i % 2 for i in range(90)],
            "hour": [None if i % 5 == 0 else i % 24 for i in range(90)],
            "price": [i / 4 for i in range(90)],
        }
    )
    narrow = frame.with_columns(pl.col("what", "hour").cast(pl.Int16))
    narrow.write_parquet(tmp_path / "a.parquet", row_group_size=20)
    frame.write_parquet(tmp_path / "b.parquet", row_group_size=20)
    assert_same(config("*.parquet"), tmp_path, held)


def test_ids_of_one_late_file_decide_how_all_are_read(tmp_path: Path):
    """007 in the last piece: no user of the log is a number."""
    (tmp_path / "a.csv").write_text(HEAD + rows(0, 40))
    (tmp_path / "b.csv").write_text(HEAD + "007,1,1,1,am,2\n")
    assert_same(config("*.csv"), tmp_path, 300)
    log = read(config("*.csv"), tmp_path, tmp_path / "again", 300)
    assert log.events.collect_schema()["user"] == pl.String


def test_a_side_table_fits_the_ids_of_a_log_in_pieces(tmp_path: Path):
    (tmp_path / "log.csv").write_text(HEAD + rows(0, 60))
    (tmp_path / "items.csv").write_text("id,kind\n" + "".join(f"{i},k{i % 3}\n" for i in range(23)))
    side = SideTable(path="items.csv", key="id", features={"kind": "categorical"})
    assert_same(config("log.csv", items=side), tmp_path, 500)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("3,4,1009,2,am,1", "label click has the value '2'"),
        ("3,4,1009,1,am,cheap", "price has the value 'cheap'; want a number"),
        ("3,4,1009,1,\xff,1", "log.csv, line 64: not UTF-8 text"),
    ],
)
def test_a_bad_value_in_a_late_piece_is_one_line(line: str, message: str, tmp_path: Path):
    text = HEAD + "".join(f"{i % 7},{i},{i},1,am,1\n" for i in range(62)) + f"{line}\n"
    (tmp_path / "log.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=message):
        read(config("log.csv"), tmp_path, tmp_path / "room", 400)


def test_pieces_end_between_rows_and_never_inside_quotes(tmp_path: Path):
    path = tmp_path / "log.csv"
    path.write_text('a,b\n1,"x\ny"\n2,z\n3,"\n\n"\n4,w\n')
    for size in range(1, 40):
        found = [frame for frame, _ in pieces(path, ["a", "b"], ",", size)]
        assert pl.concat(found).rows() == [("1", "x\ny"), ("2", "z"), ("3", "\n\n"), ("4", "w")]
