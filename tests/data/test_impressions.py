from datetime import UTC, datetime

import polars as pl
import pytest

from recscale import data
from recscale.data.schema import DataError
from recscale.data.sources.impressions import LATE
from recscale.data.sources.mind import UNLABELLED
from recscale.data.split import SplitConfig, assign

MORNING = "11/11/2019 9:05:58 AM"
NOON = "11/11/2019 12:00:00 PM"


def ms(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp() * 1000)


@pytest.fixture
def mind(tmp_path):
    """U1 clicked N1 and N2 before the log; two folders share an article."""
    for name, lines in {
        "MINDsmall_train": f"1\tU1\t{MORNING}\tN1 N2\tN3-1 N4-0\n2\tU2\t{NOON}\t\tN1-0 N5\n3\tU2\n",
        "MINDsmall_dev": f"4\tU1\t{NOON}\tN1 N2 N3\tN2-1\n",
    }.items():
        folder = tmp_path / "mind" / name
        folder.mkdir(parents=True)
        (folder / "behaviors.tsv").write_text(lines)
        (folder / "news.tsv").write_text(
            "N1\tsports\tsoccer\tA\t\thttps://x\t[]\t[]\nN3\tnews\tworld\tÆ\t\thttps://y\t[]\t[]\n"
        )
    return tmp_path


def test_mind_is_read_as_it_is_published(mind):
    log = data.load(data.named("mind"), mind)
    split = assign(log, SplitConfig(valid=0.2, test=0.2)).events
    first, noon = ms(2019, 11, 11, 9, 5, 58), ms(2019, 11, 11, 12)
    assert split.select("user", "item", "time", "click", "hour", "prefix").rows() == [
        ("U1", "N1", first - 1, None, 9, 0),
        ("U1", "N2", first - 1, None, 9, 0),
        ("U1", "N3", first, 1, 9, 2),
        ("U1", "N4", first, 0, 9, 2),
        ("U1", "N2", noon, 1, 12, 3),
        ("U2", "N1", noon, 0, 12, 0),
    ]
    assert split["in_history"].to_list() == [True, True, True, False, True, False]
    assert log.dropped == {UNLABELLED: 1, "wrong number of fields": 1}
    assert log.rows_read == 8
    assert log.items is not None
    assert log.items.collect().rows() == [("N1", "sports", "soccer"), ("N3", "news", "world")]


def test_mind_without_labels_is_refused_in_one_line(mind):
    for path in (mind / "mind").rglob("behaviors.tsv"):
        path.write_text(f"1\tU1\t{NOON}\tN1\tN3 N4\n")
    with pytest.raises(DataError, match="no item is shown with a label, as in N55528-1"):
        data.load(data.named("mind"), mind)


def test_absent_impressions_are_told_by_their_folder(tmp_path):
    with pytest.raises(DataError, match=r"mind: no behaviors\.tsv below it"):
        data.load(data.named("mind"), tmp_path)
    with pytest.raises(DataError, match=r"ebnerd: no behaviors\.parquet below it"):
        data.load(data.named("ebnerd"), tmp_path)


def test_the_real_slice_of_mind_adds_up(real_logs):
    if not (real_logs / "mind_sample").is_dir():
        pytest.skip(f"no mind_sample in {real_logs}")
    log = data.load(data.named("mind"), real_logs)
    events = log.events.collect()
    assert log.rows_read == events.height + sum(log.dropped.values())
    shown = events.drop_nulls("click")
    assert shown.height == 109_529 - log.dropped.get("exact duplicate", 0)
    assert 0.03 < shown["click"].mean() < 0.05


@pytest.fixture
def ebnerd(tmp_path):
    folder = tmp_path / "ebnerd" / "train"
    folder.mkdir(parents=True)
    at = datetime(2023, 5, 18, 6, 30)
    pl.DataFrame(
        {
            "impression_id": [1, 2],
            "user_id": [7, 7],
            "impression_time": [at, at],
            "device_type": [2, 1],
            "article_ids_inview": [[10, 11], [12]],
            "article_ids_clicked": [[11], [13]],
            "is_sso_user": [True, True],
            "gender": [None, None],
            "postcode": [1, 1],
            "age": [30, 30],
            "is_subscriber": [False, False],
        }
    ).write_parquet(folder / "behaviors.parquet")
    pl.DataFrame(
        {
            "user_id": [7],
            "article_id_fixed": [[10, 12]],
            "impression_time_fixed": [[datetime(2023, 5, 1), datetime(2023, 6, 1)]],
        }
    ).write_parquet(folder / "history.parquet")
    pl.DataFrame(
        {"article_id": [10], "category": [118], "article_type": ["article"], "premium": [False]}
    ).write_parquet(tmp_path / "ebnerd" / "articles.parquet")
    return tmp_path


def test_ebnerd_is_read_as_it_is_published(ebnerd):
    log = data.load(data.named("ebnerd"), ebnerd)
    shown, old = ms(2023, 5, 18, 6, 30), ms(2023, 5, 1)
    names = ["user", "item", "time", "click", "device_type", "hour", "in_history"]
    assert log.events.select(names).collect().rows() == [
        (7, 10, old, None, None, 0, True),
        (7, 10, shown, 0, 2, 6, False),
        (7, 11, shown, 1, 2, 6, True),
        (7, 12, shown, 0, 1, 6, False),
    ]
    assert (log.rows_read, log.dropped) == (5, {LATE: 1})
    assert log.users is not None
    assert log.users.collect().rows() == [(7, "true", None, "1", "30", "false")]
    assert log.items is not None
    assert log.items.collect().rows() == [(10, "118", "article", "false")]


def test_the_publishers_fixture_of_ebnerd_adds_up(real_logs):
    if not (real_logs / "ebnerd_test").is_dir():
        pytest.skip(f"no ebnerd_test in {real_logs}")
    log = data.load(data.named("ebnerd"), real_logs)
    events = log.events.collect()
    assert log.rows_read == events.height + sum(log.dropped.values())
    split = assign(log, SplitConfig()).events
    assert split.filter(pl.col("click").is_not_null())["prefix"].max() > 100
