import polars as pl
import pytest

from recscale import data
from recscale.data.schema import DataError
from recscale.data.sources.kuairand import ITEMS, LATE, LOGS, USER_FEATURES, USERS
from recscale.data.split import SplitConfig, assign

HEAD = "user_id,video_id,time_ms,is_click,is_like,long_view,tab,play_time_ms"


def features(folder):
    names = ["user_id", *USER_FEATURES]
    (folder / USERS).write_text(f"{','.join(names)}\n1{',x' * len(USER_FEATURES)}\n")
    (folder / ITEMS).write_text(
        "video_id,author_id,video_type,upload_type,music_type,video_duration,tag\n"
        '7,70,NORMAL,Web,9.0,1500.0,"20,43"\n8,80,AD,Web,,,\n'
    )


@pytest.fixture
def published(tmp_path):
    folder = tmp_path / "KuaiRand-Pure" / "data"
    folder.mkdir(parents=True)
    features(folder)
    (folder / LOGS[0]).write_text(f"{HEAD}\n1,7,1000,1,0,1,4,55\n1,7,1000,1,0,1,4,55\n")
    (folder / LOGS[1]).write_text(f"{HEAD}\n1,8,57600000,0,0,0,1,66\n1,8,soon,0,0,0,1,66\n")
    return tmp_path


def test_the_publishers_files_are_read_and_duplicates_counted(published):
    log = data.load(data.named("kuairand-pure"), published)
    names = ["user", "item", "time", "click", "like", "long_view", "tab", "clicked", "viewed_long"]
    assert log.events.select(*names, "hour").collect().rows() == [
        (1, 7, 1000, 1, 0, 1, 4, 1, 1, 8),
        (1, 8, 57_600_000, 0, 0, 0, 1, 0, 0, 0),
    ]
    assert (log.rows_read, log.dropped) == (4, {"unreadable time": 1, "exact duplicate": 1})
    assert log.items is not None
    assert log.items.collect().rows() == [
        (7, "70", "NORMAL", "Web", "9.0", 1500.0, ["20", "43"]),
        (8, "80", "AD", "Web", None, None, []),
    ]


def test_a_click_that_is_neither_0_nor_1_is_refused(published):
    path = published / "KuaiRand-Pure" / "data" / LOGS[0]
    path.write_text(f"{HEAD}\n1,7,1000,3,0,1,4,55\n")
    with pytest.raises(DataError, match="label click has the value 3; allowed are 0 and 1"):
        data.load(data.named("kuairand-pure"), published)


@pytest.fixture
def sliced(tmp_path):
    """User 1 saw 7, 7, 8 before the slice begins; user 2 saw 8 too late for that."""
    folder = tmp_path / "kuairand_pure"
    folder.mkdir()
    features(folder)
    rows = [(1, 8, 500, 1, 0, 0, 1, 0), (2, 7, 300, 0, 0, 0, 1, 0)]
    pl.DataFrame(rows, schema=HEAD.split(","), orient="row").write_parquet(
        folder / "exposures_a.parquet"
    )
    pl.DataFrame(
        {"user_id": [1, 2], "last_time_ms": [400, 300], "watch_seq": [[7, 7, 8], [8]]}
    ).write_parquet(folder / "user_sequences.parquet")
    return data.load(data.named("kuairand-pure"), tmp_path)


def test_what_was_shown_before_the_slice_is_history_in_its_order(sliced):
    split = assign(sliced, SplitConfig())
    assert split.events.select("user", "item", "time", "click", "clicked", "prefix").rows() == [
        (1, 7, 400, None, None, 0),
        (1, 7, 400, None, None, 0),
        (1, 8, 400, None, None, 0),
        (1, 8, 500, 1, 1, 3),
        (2, 7, 300, 0, 0, 0),
    ]
    assert split.events["in_history"].all()


def test_earlier_exposures_that_are_not_earlier_are_counted(sliced):
    assert (sliced.rows_read, sliced.dropped) == (6, {LATE: 1})


def test_the_real_slice_adds_up(real_logs):
    if not (real_logs / "kuairand_pure").is_dir():
        pytest.skip(f"no kuairand_pure in {real_logs}")
    log = data.load(data.named("kuairand-pure"), real_logs)
    events = log.events.collect()
    assert log.rows_read == events.height + sum(log.dropped.values())
    labelled = events.drop_nulls("click")
    assert 0.02 < log.dropped["exact duplicate"] / 94_784 < 0.035
    assert labelled["click"].mean() == pytest.approx(0.438, abs=0.01)
    assert not {"watch_ratio", "is_positive", "split"} & set(events.columns)
