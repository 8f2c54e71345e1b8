import numpy as np
import polars as pl
import pytest

from recscale.data.control import spoilt
from recscale.data.schema import IN_HISTORY, ITEM, PART, PREFIX, TIME, USER

HOUR = 3_600_000


@pytest.fixture
def events() -> pl.DataFrame:
    generator = np.random.default_rng(0)
    users = np.repeat(np.arange(30), 12)
    times = generator.integers(0, 30 * HOUR, (30, 12)).cumsum(1).flatten()
    place = np.tile(np.arange(12), 30)
    return pl.DataFrame(
        {
            USER: users,
            ITEM: np.arange(360),
            TIME: times,
            "click": np.arange(360) % 2,
            IN_HISTORY: np.ones(360, dtype=bool),
            PART: np.where(place < 9, 0, np.where(place < 11, 1, 2)).astype(np.uint8),
            PREFIX: place.astype(np.int32),
        }
    )


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def test_without_a_control_nothing_changes(events):
    assert spoilt(events, "none", rng()).equals(events)


def test_permuted_gaps_keep_order_first_and_last_time_and_every_gap(events):
    found = spoilt(events, "permute_gaps", rng())
    assert found.drop(TIME).equals(events.drop(TIME))
    assert not found[TIME].equals(events[TIME])
    for before, after in zip(events.partition_by(USER), found.partition_by(USER), strict=True):
        old, new = before[TIME].to_numpy(), after[TIME].to_numpy()
        assert (old[0], old[-1]) == (new[0], new[-1])
        assert sorted(np.diff(old)) == sorted(np.diff(new))
        assert (np.diff(new) >= 0).all()


def test_hours_keep_nothing_finer(events):
    found = spoilt(events, "hour", rng())
    assert (found[TIME] % HOUR == 0).all()
    assert ((events[TIME] - found[TIME]).is_between(0, HOUR - 1)).all()
    assert found.drop(TIME).equals(events.drop(TIME))


def test_shuffled_order_moves_whole_events_of_a_user_within_training_only(events):
    """An event of a later part that moved into training would be a leak."""
    found = spoilt(events, "shuffle_order", rng())
    where = [USER, TIME, PART, PREFIX]
    assert found.select(where).equals(events.select(where))
    later = pl.col(PART) > 0
    assert found.filter(later).equals(events.filter(later))
    assert not found[ITEM].equals(events[ITEM])
    content = [USER, ITEM, "click"]
    assert found.select(content).sort(ITEM).equals(events.select(content).sort(ITEM))


def test_the_same_seed_spoils_the_same_way(events):
    for control in ("permute_gaps", "shuffle_order"):
        assert spoilt(events, control, rng()).equals(spoilt(events, control, rng()))
