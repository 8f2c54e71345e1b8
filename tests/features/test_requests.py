"""What each candidate may see, worked out by hand on two users."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recscale.features.batches import Loader, assemble, in_order, single_requests
from recscale.features.requests import Rows, evaluation_rows, training_rows
from recscale.features.store import Store
from recscale.types import Feature, Schema


def make_store(
    items: list[list[int]],
    times: list[list[int]],
    prefix: list[list[int]],
    part: list[list[int]],
    label: list[list[int]] | None = None,
) -> Store:
    """Users whose every event is history and candidate."""
    lengths = [len(user) for user in items]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    def flat(values: list[list[int]], kind: type = np.int64) -> np.ndarray:
        return np.array([value for user in values for value in user], dtype=kind)

    history = {"item": flat(items, np.int32), "time": flat(times)}
    labels = flat(label, np.uint8) if label else np.ones(offsets[-1], np.uint8)
    schema = Schema(
        item=(Feature("item", "categorical", 100),),
        user=(Feature("group", "categorical", 9),),
        context=(),
        event=(),
        labels=("click",),
        exposures=label is not None,
        history=4,
    )
    candidates = {
        **history,
        "prefix": flat(prefix, np.int32),
        "part": flat(part, np.uint8),
        "click": labels,
    }
    users = {"group": np.arange(2, 2 + len(items), dtype=np.int32)}
    return Store(
        Path("nowhere"), "ab" * 8, schema, {}, history, offsets, candidates, offsets, users
    )


def two_users() -> Store:
    """The first has events 10..17, one a second; the second has two events at one time."""
    return make_store(
        items=[[10, 11, 12, 13, 14, 15, 16, 17], [20, 21, 22]],
        times=[[1, 2, 3, 4, 5, 6, 7, 8], [5, 5, 9]],
        prefix=[[0, 1, 2, 3, 4, 5, 6, 7], [0, 0, 2]],
        part=[[0, 0, 0, 0, 0, 0, 1, 2], [0, 0, 2]],
    )


def visible(store: Store, rows: Rows) -> dict[int, list[int]]:
    """Candidate's item -> the items it sees."""
    batch = assemble(store, rows, np.arange(len(rows)))
    past, ahead = batch.history, batch.candidates
    seen: dict[int, list[int]] = {}
    for row in range(len(rows)):
        events = past.features["item"][past.offsets[row] : past.offsets[row + 1]].tolist()
        for n in range(int(ahead.offsets[row]), int(ahead.offsets[row + 1])):
            seen[int(ahead.features["item"][n])] = events[: int(ahead.prefix[n])]
    return seen


def test_every_training_candidate_sees_its_own_past_once():
    """Hazard 1: a window ends right before the newest of its candidates."""
    store = two_users()
    rows = training_rows(store, history=4)
    assert visible(store, rows) == {
        10: [],
        11: [10],
        12: [10, 11],
        13: [10, 11, 12],
        14: [10, 11, 12, 13],
        15: [12, 13, 14],  # the second window starts half a history later
        20: [],
        21: [],  # a tie in time is not the past
    }


def test_a_request_sees_the_newest_events_and_no_older_ones():
    """Hazard 1: truncation keeps the newest events."""
    store = two_users()
    assert visible(store, evaluation_rows(store, "test", 4, positive=True)) == {
        17: [13, 14, 15, 16],
        22: [20, 21],
    }


def test_candidates_of_one_moment_share_a_row():
    store = make_store(
        items=[[10, 11, 12, 13]],
        times=[[1, 5, 5, 5]],
        prefix=[[0, 1, 1, 1]],
        part=[[0, 2, 2, 2]],
        label=[[1, 0, 1, 1]],
    )
    rows = evaluation_rows(store, "test", 4, positive=False)
    assert len(rows) == 1
    assert rows.candidate.tolist() == [1, 2, 3]
    assert evaluation_rows(store, "test", 4, positive=True).candidate.tolist() == [2, 3]


def test_the_sample_of_requests_is_the_data_s_own():
    store = two_users()
    first = evaluation_rows(store, "train", 4, positive=True, limit=3)
    again = evaluation_rows(store, "train", 4, positive=True, limit=3)
    assert first.candidate.tolist() == again.candidate.tolist()
    assert len(first.candidate) == 3


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    history=st.integers(1, 12),
)
def test_windows_cover_each_candidate_once_within_the_limit(lengths: list[int], history: int):
    store = make_store(
        items=[list(range(2, 2 + n)) for n in lengths],
        times=[list(range(n)) for n in lengths],
        prefix=[list(range(n)) for n in lengths],
        part=[[0] * n for n in lengths],
    )
    rows = training_rows(store, history)
    assert sorted(rows.candidate.tolist()) == list(range(sum(lengths)))
    batch = assemble(store, rows, np.arange(len(rows)))
    assert int(batch.history.lengths.max()) <= history
    owner = np.repeat(np.arange(len(rows)), np.diff(rows.offsets))
    absolute = store.candidates["prefix"][rows.candidate]
    # The newest visible event is the one right before the candidate; at least half is visible.
    assert (batch.candidates.prefix.numpy() <= batch.history.lengths.numpy()[owner]).all()
    least = np.minimum(absolute, max(1, history - history // 2))
    assert (batch.candidates.prefix.numpy() >= least).all()


def test_a_batch_carries_users_labels_and_clocks():
    store = two_users()
    rows = training_rows(store, history=4)
    batch = assemble(store, rows, np.array([2, 0]))
    assert batch.user["group"].tolist() == [3, 2]
    assert batch.user["user_index"].tolist() == [1, 0]
    assert batch.candidates.time.tolist() == [5, 5, 1, 2, 3, 4, 5]
    assert batch.candidates.time.dtype == torch.int64
    assert batch.candidates.labels["click"].tolist() == [1.0] * 7
    assert batch.history.features["item"].tolist() == [10, 11, 12, 13]


def test_clocks_and_ids_reach_a_batch_unrounded():
    """Hazard 14: each of these is odd, and float32 holds no odd number of its size."""
    item, now = 16_777_217, 1_700_000_000_001
    store = make_store([[item, item + 2]], [[now, now + 2]], [[0, 1]], [[0, 0]])
    batch = assemble(store, training_rows(store, history=4), np.array([0]))
    assert batch.history.features["item"].tolist() == [item]
    assert batch.history.time.tolist() == [now]
    assert batch.candidates.features["item"].tolist() == [item, item + 2]
    assert batch.candidates.time.tolist() == [now, now + 2]


def test_in_order_gives_every_row_once_longest_first():
    store = two_users()
    rows = training_rows(store, history=4)
    lengths = [int(batch.history.lengths[0]) for batch in in_order(store, rows, 1)]
    assert lengths == sorted(lengths, reverse=True)
    assert len(lengths) == len(rows)


def test_a_single_request_scores_many_items_after_one_history():
    store = two_users()
    rows = evaluation_rows(store, "test", 4, positive=True)
    batch = next(single_requests(store, rows, 50))
    assert batch.candidates.features["item"].shape == (50,)
    assert int(batch.candidates.features["item"].min()) >= 2
    assert batch.candidates.offsets.tolist() == [0, 50]
    assert batch.candidates.prefix.unique().tolist() == [4]


def test_a_loader_goes_on_where_it_stopped():
    """Hazard 7."""
    store = two_users()
    rows = training_rows(store, history=2)
    straight = Loader(store, rows, batch_size=2, seed=3)
    order = [batch.candidates.features["item"].tolist() for _ in range(3) for batch in straight]
    for stop in range(len(order)):
        before, after = Loader(store, rows, 2, seed=3), Loader(store, rows, 2, seed=3)
        seen: list[list[int]] = []
        while len(seen) < stop:
            for batch in before:
                seen.append(batch.candidates.features["item"].tolist())
                if len(seen) == stop:
                    break
        after.load_state_dict(before.state_dict())
        while len(seen) < len(order):
            seen += [batch.candidates.features["item"].tolist() for batch in after]
        assert seen == order


def test_an_epoch_gives_every_row_once():
    store = two_users()
    rows = training_rows(store, history=2)
    loader = Loader(store, rows, batch_size=2, seed=0)
    given_items = [i for batch in loader for i in batch.candidates.features["item"].tolist()]
    assert sorted(given_items) == [10, 11, 12, 13, 14, 15, 20, 21]
    assert loader.state_dict() == {"epoch": 1, "position": 0}


@pytest.mark.parametrize("part", ["valid", "test"])
def test_a_part_without_candidates_has_no_rows(part: str):
    store = make_store([[10, 11]], [[1, 2]], [[0, 1]], [[0, 0]])
    assert len(evaluation_rows(store, part, 4, positive=True)) == 0  # type: ignore[arg-type]


def test_shares_train_on_the_newest_events_of_some_users():
    """Users by a draw that smaller shares lie in; of their events the newest, ties together."""
    store = two_users()
    newest = training_rows(store, history=4, events=0.5)  # of eight: those at 5 and 6 and the ties
    assert visible(store, newest) == {14: [10, 11, 12, 13], 15: [12, 13, 14], 20: [], 21: []}
    one = training_rows(store, history=4, users=0.5)
    assert len(set(one.user.tolist())) == 1
    everything = training_rows(store, history=4)
    assert visible(store, training_rows(store, 4, 1.0, 1.0)) == visible(store, everything)
