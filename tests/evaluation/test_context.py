"""What held-out events are like, on a log that can be counted by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recscale.data.sources.table import SideTable, TableConfig
from recscale.data.split import SplitConfig
from recscale.evaluation.context import categories, context
from recscale.features.batches import in_order
from recscale.features.config import FeaturesConfig
from recscale.features.prepare import Recipe, prepare
from recscale.features.requests import evaluation_rows
from recscale.features.store import Store, open_store

DAY = 86_400  # seconds
# user, item, day: ten training days, then a test event for each of three users.
LOG = [
    (1, 10, 0), (1, 11, 1), (1, 12, 2), (2, 11, 3), (2, 12, 4), (2, 10, 5), (3, 12, 6), (3, 11, 7),
    (4, 10, 8), (4, 11, 9), (3, 12, 20), (2, 11, 21), (4, 99, 22), (5, 10, 23),
]  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    user, item, day = zip(*LOG, strict=True)
    events = {"user": user, "item": item, "time": [d * DAY for d in day]}
    pl.DataFrame(events).write_csv(tmp_path / "log.csv")
    tags = {"item": [10, 11, 12], "tags": ["a|b", "", "b"], "shop": [1, 1, 2]}
    pl.DataFrame(tags).write_csv(tmp_path / "items.csv")
    side = SideTable(
        path="items.csv", key="item", features={"tags": "multi", "shop": "categorical"}
    )
    log = TableConfig(
        path="log.csv", user="user", item="item", time="time", time_unit="s", items=side
    )
    recipe = Recipe(
        data=log, split=SplitConfig(valid=0.07, test=0.21), features=FeaturesConfig(history=4)
    )
    return open_store(prepare(recipe, tmp_path, tmp_path / "prepared"), 4)


def test_context_is_that_of_each_request_in_ranked_order(store: Store):
    rows = evaluation_rows(store, "test", 4, positive=True)
    found = context(store, in_order(store, rows, 2))
    # Longest history first: user 2 (three events), user 4 (two), user 5 (none).
    assert found.length.tolist() == [3, 2, 0]
    assert found.age[0] == 20  # item 11 on day 21, first seen on day 1
    assert np.isnan(found.age[1])  # item 99 was never trained on
    assert found.age[2] == 23
    assert found.activity.tolist() == [3, 2, 0]
    # 10 then 11 was trained on; 11 then 99 could not be; nobody's nothing leads to anything.
    assert found.memorised.tolist() == [True, False, False]


def test_only_training_events_are_remembered(store: Store):
    """User 3 goes from 11 to 12 in validation; users 1 and 2 had done so in training."""
    rows = evaluation_rows(store, "valid", 4, positive=True)
    assert context(store, in_order(store, rows, 2)).memorised.tolist() == [True]
    part = store.candidates["part"].copy()
    part[[2, 4]] = 1  # had the two done it in validation, nothing would be known of it
    changed = replace(store, candidates={**store.candidates, "part": part})
    assert context(changed, in_order(store, rows, 2)).memorised.tolist() == [False]


def test_context_of_no_event_is_empty(store: Store):
    assert context(store, []).length.tolist() == []


def test_an_item_of_two_tags_counts_half_in_each(store: Store):
    mix = categories(store)
    assert mix is not None
    assert mix.toarray()[2:].tolist() == [[0, 0, 0.5, 0.5], [0, 0, 0, 0], [0, 0, 0, 1]]
