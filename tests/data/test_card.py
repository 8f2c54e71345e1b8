import json

import numpy as np
import pytest

from recscale import data
from recscale.data.card import card
from recscale.data.quality import compression, entropy_bits, gini, head_share
from recscale.data.sources.table import SideTable, TableConfig
from recscale.data.split import SplitConfig, assign


def test_sizes_ties_and_repeats_are_counted(log):
    rows = [(1, 5, 0), (1, 5, 0), (1, 6, 1000), (2, 5, 0), (3, 5, 86_400_000), (3, 6, 86_400_001)]
    told = card(log(rows))
    assert (told["users"], told["items"], told["events"]) == (3, 2, 6)
    assert told["events_per_user"] == {"median": 2, "mean": 2, "max": 3}
    assert (told["users_with_one_event"], told["items_with_one_event"]) == (1, 0)
    assert (told["first"], told["last"]) == (
        "1970-01-01T00:00:00.000+00:00",
        "1970-01-02T00:00:00.001+00:00",
    )
    assert told["tied_share"] == pytest.approx(2 / 6)
    assert told["quality"]["repeat_share"] == pytest.approx(1 / 6)
    assert (told["labels"], told["features"]) == ({}, {})


def test_text_items_are_counted_like_numbers(log):
    rows = [("u", "b", 0), ("u", "a", 1), ("v", "b", 2), ("v", "b", 3)]
    told = card(log(rows))
    assert (told["users"], told["items"]) == (2, 2)
    assert told["quality"]["repeat_share"] == 0.25
    assert told["quality"]["item_entropy_bits"] == pytest.approx(0.8112781)


def test_items_far_apart_are_counted_like_neighbours(log):
    near, far = ([(1, i, t) for t, i in enumerate(ids)] for ids in ([1, 2, 1], [1, 1 << 60, 1]))
    assert card(log(near)) == card(log(far))


def test_history_only_rows_do_not_count_in_the_label_rate(log):
    told = card(log([(1, 1, 0, None), (1, 2, 1, 1), (1, 3, 2, 0), (1, 4, 3, 0)]))
    assert told["labels"]["labelled_events"] == 3
    assert told["labels"]["positive_rate"]["click"] == pytest.approx(1 / 3)


def test_the_card_of_a_split_log_adds_its_parts_and_changes_nothing_else(log):
    made = log([(1, t, t) for t in range(10)])
    whole = card(made)
    cut = card(made, assign(made, SplitConfig(valid=0.2, test=0.1)))
    parts = cut.pop("split")
    assert cut == whole
    assert (parts["train"], parts["valid"], parts["test"]) == (7, 2, 1)
    assert parts["test_from"] == "1970-01-01T00:00:00.009+00:00"


def test_the_card_is_json_and_tells_missing_features(tmp_path):
    (tmp_path / "log.csv").write_text("u,i,t,where\n1,7,1,\n1,8,2,x\n")
    (tmp_path / "items.csv").write_text("i,tags\n7,a|b\n8,\n")
    log = data.load(
        TableConfig(
            path="log.csv", user="u", item="i", time="t", time_unit="s",
            context={"where": "categorical"},
            items=SideTable(path="items.csv", key="i", features={"tags": "multi"}),
        ),
        tmp_path,
    )  # fmt: skip
    told = json.loads(json.dumps(card(log)))
    assert told["features"] == {
        "context": {"where": {"kind": "categorical", "missing": 0.5}},
        "item": {"tags": {"kind": "multi", "missing": 0.5}},
    }


def test_gini_is_zero_for_equal_items_and_high_for_one_winner():
    assert gini(np.array([3, 3, 3])) == 0
    assert gini(np.array([0, 0, 0, 8])) == pytest.approx(0.75)
    assert gini(np.array([1, 2, 3])) == pytest.approx(2 / 9)


def test_entropy_is_the_bits_of_popularity():
    assert entropy_bits(np.array([4, 4, 4, 4])) == 2
    assert entropy_bits(np.array([9, 0])) == 0


def test_the_head_is_a_hundredth_of_the_items():
    assert head_share(np.array([1] * 100 + [50] * 100)) == pytest.approx(100 / 5100)


def test_order_is_worth_something_only_where_there_is_order():
    generator = np.random.default_rng(0)
    runs = np.repeat(generator.integers(0, 500, 400), 25)
    assert compression(runs, generator).order_gain > 0.5
    assert abs(compression(generator.integers(0, 500, 10_000), generator).order_gain) < 0.02
