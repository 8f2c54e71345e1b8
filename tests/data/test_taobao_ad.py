import polars as pl
import pytest

from recscale import data
from recscale.data.schema import DataError
from recscale.data.split import SplitConfig, assign


@pytest.fixture
def published(tmp_path):
    folder = tmp_path / "taobao-ad"
    folder.mkdir()
    (folder / "raw_sample.csv").write_text(
        "user,time_stamp,adgroup_id,pid,nonclk,clk\n"
        "5,1494000000,9,430548_1007,1,0\n5,1494003600,8,430539_1007,0,1\n5,1494007200,9,x,1,0\n"
    )
    (folder / "ad_feature.csv").write_text(
        "adgroup_id,cate_id,campaign_id,customer,brand,price\n"
        "8,62,1,2,NULL,170.0\n9,63,1,2,77,99.5\n"
    )
    (folder / "user_profile.csv").write_text(
        "userid,cms_segid,cms_group_id,final_gender_code,age_level,pvalue_level,shopping_level,"
        "occupation,new_user_class_level \n5,0,5,2,5,,3,0,2\n"
    )
    return tmp_path


def test_the_publishers_files_are_read(published):
    log = data.load(data.named("taobao-ad"), published)
    split = assign(log, SplitConfig(valid=0.3, test=0.3)).events
    names = ["user", "item", "time", "clk", "action", "hour", "prefix", "in_history"]
    assert split.select(names).rows() == [
        (5, 9, 1_494_000_000_000, 0, "nonclk", 0, 0, False),
        (5, 8, 1_494_003_600_000, 1, "clk", 1, 0, True),
        (5, 9, 1_494_007_200_000, 0, "nonclk", 2, 1, False),
    ]
    assert log.items is not None
    assert log.items.collect().rows() == [
        (8, "62", None, "1", "2", 170.0),
        (9, "63", "77", "1", "2", 99.5),
    ]  # noqa: E501
    assert log.users is not None
    assert log.users.collect().rows() == [(5, "0", "5", "2", "5", None, "3", "0")]


def test_what_users_did_in_the_shop_is_history_that_shares_brand_and_category(published):
    (published / "taobao-ad" / "behavior_log.csv").write_text(
        "user,time_stamp,btag,cate,brand\n5,1493990000,pv,63,77\n5,1493990001,buy,63,77\n"
        "5,1493990001,buy,63,77\n5,soon,pv,1,1\n"
    )
    log = data.load(data.named("taobao-ad"), published)
    split = assign(log, SplitConfig(valid=0.3, test=0.3)).events
    pair = -(63 * (1 << 20) + 77) - 1
    assert split.select("item", "clk", "action", "prefix").rows()[:3] == [
        (pair, None, "pv", 0),
        (pair, None, "buy", 1),
        (9, 0, "nonclk", 2),
    ]
    assert (log.rows_read, log.dropped) == (7, {"unreadable time": 1, "exact duplicate": 1})
    assert log.items is not None
    known = log.items.collect()
    alike = known.filter(pl.col("brand") == "77").select("item", "cate_id", "campaign_id")
    assert alike.rows() == [(9, "63", "1"), (pair, "63", None)]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"taobao-ad/raw_sample\.csv: no such file"):
        data.load(data.named("taobao-ad"), tmp_path)
