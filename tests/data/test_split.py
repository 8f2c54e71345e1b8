import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from recscale.data.order import by_user_and_time
from recscale.data.schema import DataError
from recscale.data.split import FEW_POSITIVES, SplitConfig, assign

TENTHS = SplitConfig(valid=0.2, test=0.2)
LEAVE_ONE_OUT = SplitConfig(protocol="leave_one_out")


def column(split, name):
    return split.events[name].to_list()


def test_one_global_cut_in_time_opens_valid_and_one_opens_test(log):
    split = assign(log([(u, 7, t) for u, t in zip([1, 2] * 5, range(10), strict=True)]), TENTHS)
    assert (split.valid_from, split.test_from) == (6, 8)
    assert column(split, "time") == [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]
    assert column(split, "part") == [0, 0, 0, 1, 2, 0, 0, 0, 1, 2]


def test_events_exactly_at_a_cut_belong_to_the_later_part(log):
    split = assign(log([(1, t, t) for t in [0, 1, 2, 3, 5, 5, 5, 8, 8, 9]]), TENTHS)
    assert (split.valid_from, split.test_from) == (5, 8)
    assert column(split, "part") == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_rows_without_a_label_do_not_move_the_cut(log):
    labelled = [(1, t, t, 1) for t in range(10)]
    split = assign(log([*labelled, *[(2, 0, 100 + t, None) for t in range(50)]]), TENTHS)
    assert (split.valid_from, split.test_from) == (6, 8)


def test_ties_in_time_keep_the_original_row_order(log):
    """Hazard 15."""
    rows = [(1, 30, 5), (2, 9, 1), (1, 10, 5), (1, 20, 5), (1, 40, 4), (2, 8, 1)]
    split = assign(log(rows), SplitConfig())
    assert column(split, "item") == [40, 30, 10, 20, 9, 8]


def test_temporal_prefix_counts_strictly_earlier_events_only(log):
    """Hazard 5: what ties with a request is not its past."""
    rows = [(1, 1, 5), (1, 2, 5), (1, 3, 6), (1, 4, 6), (1, 5, 7), (2, 1, 6), (2, 2, 7)]
    assert column(assign(log(rows), TENTHS), "prefix") == [0, 0, 2, 2, 4, 0, 1]


def test_leave_one_out_prefix_counts_events_earlier_in_order(log):
    rows = [(1, 1, 5), (1, 2, 5), (1, 3, 6), (2, 1, 6), (2, 2, 6)]
    assert column(assign(log(rows), LEAVE_ONE_OUT), "prefix") == [0, 1, 2, 0, 1]


def test_prefix_counts_only_rows_that_belong_to_the_history(log):
    rows = [(1, 1, 1, 0), (1, 2, 2, 1), (1, 3, 2, 0), (1, 4, 3, 1), (2, 1, 1, 1), (2, 2, 4, 0)]
    history = [False, True, False, True, True, False]
    assert column(assign(log(rows, history), TENTHS), "prefix") == [0, 0, 0, 1, 0, 1]


def test_prefix_indexes_into_the_users_own_history_rows(log):
    rng = np.random.default_rng(0)
    rows = [(int(u), i, int(t)) for i, (u, t) in enumerate(rng.integers(0, 6, (300, 2)))]
    events = assign(log(rows), TENTHS).events
    for row in events.iter_rows(named=True):
        earlier = [1 for u, _, t in rows if u == row["user"] and t < row["time"]]
        assert row["prefix"] == len(earlier)


def test_leave_one_out_holds_out_each_users_last_two_events(log):
    rows = [(1, 1, 1), (1, 2, 2), (1, 3, 3), (1, 4, 4), (2, 1, 1), (2, 2, 2), (2, 3, 2)]
    split = assign(log(rows), LEAVE_ONE_OUT)
    assert column(split, "part") == [0, 0, 1, 2, 0, 1, 2]
    assert (split.valid_from, split.left_out) == (None, {})


def test_leave_one_out_keeps_what_follows_a_held_out_event_out_of_training(log):
    clicks = [1, 0, 1, 0, None, 1, 0]
    split = assign(log([(1, t, t, c) for t, c in enumerate(clicks)]), LEAVE_ONE_OUT)
    assert column(split, "part") == [0, 0, 1, 1, 1, 2, 2]


def test_leave_one_out_counts_users_with_too_few_positive_events(log):
    rows = [(1, 1, 1, 1), (1, 2, 2, 0), (1, 3, 3, 1), *[(2, t, t, 1) for t in range(3)]]
    split = assign(log(rows), LEAVE_ONE_OUT)
    assert column(split, "part") == [0, 0, 0, 0, 1, 2]
    assert split.left_out == {FEW_POSITIVES: 1}


@pytest.mark.parametrize(
    "users", [[3, 1, 2], ["c", "a", "b"], [1 << 50, -(1 << 50), 0], [3 << 40, 1 << 40, 2 << 40]]
)
def test_any_user_id_sorts_like_two_keys_do(log, users):
    """Hazard 15: a stable sort, whichever way the key is packed."""
    rng = np.random.default_rng(1)
    rows = [(users[k], i, int(t)) for i, (k, t) in enumerate(rng.integers(0, 3, (200, 2)))]
    rows.append((users[0], 200, 1 << 40))
    frame = log(rows).events.collect()
    assert by_user_and_time(frame).equals(frame.sort("user", "time", maintain_order=True))


def test_a_log_already_in_order_is_not_copied(log):
    frame = log([(1, 1, 1), (1, 2, 1), (2, 1, 0)]).events.collect()
    assert by_user_and_time(frame) is frame


def test_shares_that_leave_nothing_to_train_on_are_refused():
    with pytest.raises(ValidationError, match=r"valid 0.5 \+ test 0.5 leave nothing"):
        SplitConfig(valid=0.5, test=0.5)


def test_a_log_without_any_label_value_cannot_be_split(log):
    empty = log([(1, 1, 1, None), (1, 2, 2, None)])
    with pytest.raises(DataError, match="no row has a value in label click"):
        assign(empty, TENTHS)


def test_future_events_do_not_move_the_past(log):
    rows = [(u, i, 10 * i + u) for i in range(20) for u in range(3)]
    split = assign(log(rows), TENTHS)
    future = [(u, i + 1000, t) if t >= split.valid_from else (u, i, t) for u, i, t in rows]
    again = assign(log(future), TENTHS)
    train = pl.col("part") == 0
    assert split.events.filter(train).equals(again.events.filter(train))
