"""A prepared folder, worked out by hand from six events of two users."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recscale.data.control import Control
from recscale.data.schema import Columns, Log
from recscale.data.sources.table import TableConfig
from recscale.data.split import SplitConfig, assign
from recscale.data.synthetic import SyntheticConfig
from recscale.features.config import FeaturesConfig
from recscale.features.encode import write
from recscale.features.prepare import Recipe, prepare, summary
from recscale.features.store import Store, open_store
from recscale.types import UNSEEN

# user, item, time, click (None: history only), hour (context), dwell (event)
PAST = [
    (7, 30, 1, 1, "am", 2.0),
    (7, 10, 2, 0, "am", 4.0),
    (3, 30, 3, 1, "pm", 6.0),
    (3, 20, 4, None, "am", None),
]
FUTURE = [(7, 40, 5, 1, "late", 100.0), (3, 30, 6, 0, "pm", 100.0)]  # one is valid, one is test
FIFTHS = SplitConfig(valid=0.2, test=0.2)
ITEMS = {
    "item": [10, 30, 40],
    "kind": ["a", "b", "c"],
    "price": [1.0, 3.0, 1000.0],
    "tags": [["x", "y"], ["y"], ["z"]],
}
USERS = {"user": [3, 7, 9], "country": ["nl", None, "be"]}
COLUMNS = Columns(
    item={"kind": "categorical", "price": "numeric", "tags": "multi"},
    user={"country": "categorical"},
    context={"hour": "categorical"},
    event={"dwell": "numeric"},
    labels=("click",),
)


def make_log(rows: list[tuple[object, ...]], hidden: tuple[object, ...] = ()) -> Log:
    """Rows as a Log; those whose click is in `hidden` are no history."""
    names = ["user", "item", "time", "click", "hour", "dwell"]
    events = pl.DataFrame(rows, schema=names, orient="row").with_columns(
        pl.Series("in_history", [row[3] not in hidden for row in rows])
    )
    items, users = pl.LazyFrame(ITEMS), pl.LazyFrame(USERS)
    return Log(events.lazy(), items, users, COLUMNS, len(rows) + 2, {"no item": 2}, ("literal",))


def prepared(log: Log, folder: Path, split: SplitConfig = FIFTHS, **features: object) -> Store:
    config = FeaturesConfig.model_validate(features)
    write(log, split, config, "ab" * 8, folder)
    return open_store(folder, config.history)


@pytest.fixture
def six(tmp_path: Path) -> Store:
    return prepared(make_log(PAST + FUTURE), tmp_path)


def rounded(values: np.ndarray) -> list[float]:
    return np.round(values.astype(float), 4).tolist()


def test_history_holds_every_event_user_by_user_in_event_order(six: Store):
    assert six.history_offsets.tolist() == [0, 3, 6]
    assert six.history["time"].tolist() == [3, 4, 6, 1, 2, 5]
    # Training saw 10, 20 and 30: they are 2, 3 and 4, and item 40 is unseen.
    assert six.history["item"].tolist() == [4, 3, 4, 4, 2, UNSEEN]
    assert six.history["hour"].tolist() == [3, 2, 3, 2, 2, UNSEEN]
    # Dwell of training has mean 4 and deviation 2; the missing one is the mean.
    assert rounded(six.history["dwell"]) == [1.0, 0.0, 48.0, -1.0, 0.0, 48.0]


def test_history_only_rows_are_never_candidates(six: Store):
    assert six.candidate_offsets.tolist() == [0, 2, 5]
    assert six.candidates["time"].tolist() == [3, 6, 1, 2, 5]
    assert six.candidates["item"].tolist() == [4, 4, 4, 2, UNSEEN]
    assert six.candidates["hour"].tolist() == [3, 3, 2, 2, UNSEEN]
    assert six.candidates["click"].tolist() == [1, 0, 1, 0, 1]
    assert six.candidates["part"].tolist() == [0, 2, 0, 0, 1]
    assert six.candidates["prefix"].tolist() == [0, 2, 0, 1, 2]


def test_items_are_described_by_what_training_saw(six: Store):
    catalogue = six.catalogue()
    assert catalogue.popularity.tolist() == [0, 0, 0, 0, 2]  # positive events in training
    assert catalogue.single["kind"].tolist() == [0, 0, 2, UNSEEN, 3]
    assert rounded(catalogue.single["price"].numpy()) == [0.0, 0.0, -0.7071, 0.0, 0.7071]
    assert catalogue.multi["tags"].offsets.tolist() == [0, 0, 0, 2, 2, 3]
    assert catalogue.multi["tags"].values.tolist() == [2, 3, 3]
    assert pl.read_parquet(six.folder / "vocabulary" / "item.parquet").to_dict(as_series=False) == {
        "value": [10, 20, 30]
    }


def test_the_schema_names_each_feature_in_its_role(six: Store):
    schema = six.schema
    names = [
        [(feature.name, feature.kind, feature.size) for feature in features]
        for features in (schema.item, schema.user, schema.context, schema.event)
    ]
    assert names == [
        [("item", "categorical", 5), ("kind", "categorical", 4), ("price", "numeric", 1),
         ("tags", "multi", 4)],
        [("country", "categorical", 3)],
        [("hour", "categorical", 4)],
        [("dwell", "numeric", 1)],
    ]  # fmt: skip
    assert (schema.labels, schema.exposures) == (("click",), True)


def test_counts_add_up(six: Store):
    assert six.counts == {
        "users": 2,
        "items": 3,
        "events": 6,
        "train": 3,
        "valid": 1,
        "test": 1,
        "dropped": {"no item": 2},
        "left_out": {},
    }
    labelled = sum(six.counts[part] for part in ("train", "valid", "test"))
    assert labelled == len(six.candidates["part"]) == six.counts["events"] - 1
    assert summary(six.folder) == {"digest": six.digest, **six.counts}


def test_users_are_described_in_the_order_of_the_log(six: Store):
    assert six.users["country"].tolist() == [2, UNSEEN]


def test_a_user_that_training_never_saw_is_unseen(tmp_path: Path):
    late = (9, 30, 7, 1, "am", 1.0)
    store = prepared(make_log([*PAST, *FUTURE, late]), tmp_path, user_id=True)
    assert store.users["user_id"].tolist() == [2, 3, UNSEEN]
    assert store.users["country"].tolist() == [2, UNSEEN, UNSEEN]


def test_a_positive_history_hides_what_was_not_taken(tmp_path: Path):
    store = prepared(make_log(PAST + FUTURE, hidden=(0,)), tmp_path)
    assert store.history["item"].tolist() == [4, 3, 4, UNSEEN]
    assert store.history_offsets.tolist() == [0, 2, 4]
    assert store.candidates["item"].tolist() == [4, 4, 4, 2, UNSEEN]
    assert store.candidates["prefix"].tolist() == [0, 2, 0, 1, 1]


def test_only_included_features_are_kept(tmp_path: Path):
    store = prepared(make_log(PAST + FUTURE), tmp_path, include=["hour", "tags"])
    schema = store.schema
    assert [feature.name for feature in schema.item] == ["item", "tags"]
    assert (schema.user, schema.event) == ((), ())
    assert sorted(store.history) == ["hour", "item", "time"]


def test_an_unknown_feature_is_refused_beside_those_there_are(tmp_path: Path):
    message = "the log has no colour; it has country, dwell, hour, kind, price, tags"
    with pytest.raises(ValueError, match=message):
        prepared(make_log(PAST + FUTURE), tmp_path, include=["hour", "colour"])


def test_a_log_without_labels_is_positive_throughout(tmp_path: Path):
    frame = pl.DataFrame([(1, 10, 1), (1, 11, 2)], schema=["user", "item", "time"], orient="row")
    events = frame.with_columns(in_history=pl.lit(value=True)).lazy()
    log = Log(events, None, None, Columns(), 2, {}, ("literal",))
    store = prepared(log, tmp_path, SplitConfig())
    assert (store.schema.labels, store.schema.exposures) == (("interaction",), False)
    assert store.candidates["interaction"].tolist() == [1, 1]


def fitted(store: Store) -> dict[str, object]:
    """Sizes, the vocabulary and the statistics of items."""
    contents = {
        str(path.relative_to(store.folder)): path.read_bytes()
        for group in ("items", "vocabulary")
        for path in sorted((store.folder / group).rglob("*"))
        if path.is_file()
    }
    return {"schema": store.schema, **contents}


def trained_on(store: Store) -> list[dict[str, list[object]]]:
    """How the training part looks once encoded: history, then candidates."""
    past = store.history["time"] < FUTURE[0][2]
    train = store.candidates["part"] == 0
    history = {name: values[past].tolist() for name, values in store.history.items()}
    ahead = {name: values[train].tolist() for name, values in store.candidates.items()}
    return [history, ahead]


@pytest.mark.parametrize(
    "future",
    [
        [(3, 30, 5, 0, "pm", 100.0), (7, 40, 6, 1, "late", 100.0)],
        [(7, 30, 5, 0, "pm", 100.0), (3, 40, 6, 1, "late", 100.0)],
        [(7, 10, 5, 1, "am", -3.0), (3, 10, 6, 1, "am", 9e9)],
        [(9, 5, 5, 1, "aa", 0.5), (9, 6, 6, 1, "zz", 0.5)],
    ],
    ids=["other order", "other users", "other values", "other users, items and hours"],
)
def test_future_events_leave_vocabulary_and_statistics_alone(
    six: Store, future: list[tuple[object, ...]], tmp_path: Path
):
    """Hazard 12: what training learned is the same whatever happens after it, in any order."""
    again = prepared(make_log(PAST + future), tmp_path / "again")
    assert fitted(again) == fitted(six)
    assert trained_on(again) == trained_on(six)


def test_ids_follow_the_set_of_training_values_not_their_order(six: Store, tmp_path: Path):
    """Hazard 12: the users change places, so that 10 now appears before 20 and not after it."""
    exchanged = [({3: 7, 7: 3}[user], *row) for user, *row in PAST + FUTURE]
    again = prepared(make_log(exchanged), tmp_path / "again")
    assert fitted(again) == fitted(six)


TIED = [(u, 2 + (7 * i + u) % 9, i // 4, i % 2, "am", 1.0) for i in range(12) for u in (1, 2)]


def test_history_and_requests_share_the_order_of_the_split(tmp_path: Path):
    """Hazard 19: three quarters of these rows tie with the row before them.

    The order of equal times is that of the file, for what is seen, what is asked and what is
    held out.
    """
    log = make_log(TIED)
    by_hand = [row[1] for user in (1, 2) for row in TIED if row[0] == user]
    for split in (FIFTHS, SplitConfig(protocol="leave_one_out")):
        store = prepared(log, tmp_path / split.protocol, split)
        values = pl.read_parquet(store.folder / "vocabulary" / "item.parquet")["value"]
        known = dict(zip(values, range(2, 99), strict=False))
        expected = [known.get(item, UNSEEN) for item in by_hand]
        assert store.history["item"].tolist() == expected
        assert store.candidates["item"].tolist() == expected
        assert assign(log, split).events["item"].to_list() == by_hand


def test_a_log_of_ties_gives_the_same_folder_every_time(tmp_path: Path):
    """Hazard 19: same rows, same bytes."""
    for attempt in ("first", "second"):
        prepared(make_log(TIED), tmp_path / attempt, SplitConfig(protocol="leave_one_out"))
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


SHUFFLED = sorted(
    ((u, (5 * u + 7 * i) % 23, i // 3, (u * i) % 3 and (u + i) % 2, "amp"[i % 3], u / (i + 1))
     for u in range(11) for i in range(u % 6 + 1)),
    key=lambda row: (row[1], row[2]),
)  # fmt: skip


@pytest.mark.parametrize("names", [int, str], ids=["numbered users", "named users"])
@pytest.mark.parametrize("protocol", ["temporal", "leave_one_out"])
@pytest.mark.parametrize("hidden", [(), (0,)], ids=["all history", "some hidden"])
@pytest.mark.parametrize("rows", [1, 7, 20])
def test_a_log_in_many_ranges_gives_the_same_folder(
    rows: int, hidden: tuple[int, ...], protocol: str, names: type, tmp_path: Path
):
    """Users interleaved in the file, ties, statistics over users of several ranges: same bytes."""
    log = make_log([(names(user), *rest) for user, *rest in SHUFFLED], hidden)
    log = replace(log, users=None, columns=replace(COLUMNS, user={}))
    split, features = SplitConfig.model_validate({"protocol": protocol}), FeaturesConfig()
    write(log, split, features, "ab" * 8, tmp_path / "whole")
    write(log, split, features, "ab" * 8, tmp_path / "cut", rows=rows)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


@pytest.mark.parametrize("control", ["permute_gaps", "hour", "shuffle_order"])
def test_a_log_in_many_ranges_is_spoilt_as_a_whole_one_is(control: Control, tmp_path: Path):
    log = make_log([tuple(row) for row in SHUFFLED])
    log = replace(log, users=None, columns=replace(COLUMNS, user={}))
    for name, rows in (("whole", 1000), ("cut", 7)):
        write(log, FIFTHS, FeaturesConfig(), "ab" * 8, tmp_path / name, control=control, rows=rows)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


ROWS = "who,what,when\n" + "".join(f"{u},{i},{10 * u + i}\n" for u in range(4) for i in range(5))


def recipe(**features: object) -> Recipe:
    table = TableConfig(path="log.csv", user="who", item="what", time="when", time_unit="s")
    return Recipe(data=table, split=SplitConfig(), features=FeaturesConfig.model_validate(features))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "log.csv").write_text(ROWS)
    return tmp_path


def test_a_prepared_folder_is_found_again_by_its_digest(raw: Path):
    folder = prepare(recipe(), raw, raw / "prepared")
    (folder / "left").write_text("by the first call")
    os.utime(raw / "log.csv", (1, 1))  # content decides, not its date
    assert prepare(recipe(), raw, raw / "prepared") == folder
    assert (folder / "left").exists()
    assert json.loads((folder / "meta.json").read_text())["digest"] == folder.name
    assert [path.name for path in (raw / "prepared").iterdir()] == [folder.name]


def test_the_length_of_histories_is_decided_later_and_shares_the_folder(raw: Path):
    folder = prepare(recipe(history=3), raw, raw / "prepared")
    assert prepare(recipe(history=4), raw, raw / "prepared") == folder
    assert open_store(folder, 3).schema.history == 3


def test_another_recipe_or_another_file_is_another_folder(raw: Path):
    first = prepare(recipe(), raw, raw / "prepared")
    other = prepare(recipe(user_id=True), raw, raw / "prepared")
    (raw / "log.csv").write_text(ROWS.replace("3,4,34", "3,4,35"))
    changed = prepare(recipe(), raw, raw / "prepared")
    assert len({first, other, changed}) == 3


def test_a_folder_left_half_written_is_not_taken_for_prepared(raw: Path):
    folder = prepare(recipe(), raw, raw / "prepared")
    half = folder.rename(folder.with_name(f".{folder.name}-half"))
    assert prepare(recipe(), raw, raw / "prepared") == folder
    assert (folder / "meta.json").exists()
    assert half.exists()  # another process may be at work in it


def test_a_control_is_another_prepared_folder_with_the_same_targets(tmp_path: Path):
    config = SyntheticConfig(users=40, items=30, events_per_user=20)
    stores = {}
    for control in ("none", "permute_gaps"):
        data = config.model_copy(update={"control": control})
        recipe = Recipe(data=data, split=SplitConfig(), features=FeaturesConfig())
        stores[control] = open_store(prepare(recipe, tmp_path, tmp_path / "prepared"), 20)
    spoilt, plain = stores["permute_gaps"], stores["none"]
    assert spoilt.digest != plain.digest
    for name in ("item", "part", "prefix", "click"):
        assert np.array_equal(spoilt.candidates[name], plain.candidates[name])
    assert not np.array_equal(spoilt.candidates["time"], plain.candidates["time"])
