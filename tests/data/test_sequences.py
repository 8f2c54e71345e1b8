from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recscale.data.sequences import entropy_rate_bits, successors


def test_the_entropy_rate_is_worked_out_by_hand():
    """a b a b: shortest new runs 1, 1, then "ab" and "b" reach the end: 3 and 2; 4 * 2 / 7."""
    assert entropy_rate_bits(np.array([5, 9, 5, 9]), np.array([4])) == pytest.approx(8 / 7)


def test_users_are_weighted_by_their_events_and_single_events_say_nothing():
    """Two of one item: runs 1 and 2, 2 * 1 / 3 bits. Four different ones: 4 * 2 / 4 = 2 bits."""
    items, lengths = np.array([7, 7, 3, 1, 2, 3, 4]), np.array([2, 1, 4])
    assert entropy_rate_bits(items, lengths) == pytest.approx((2 * 2 / 3 + 4 * 2) / 6)
    assert entropy_rate_bits(np.array([1]), np.array([1])) is None


def test_noise_has_a_higher_entropy_rate_than_a_habit():
    generator = np.random.default_rng(0)
    noise, habit = generator.integers(0, 50, 400), np.tile(np.arange(10), 40)
    low, high = (entropy_rate_bits(x, np.array([400])) for x in (habit, noise))
    assert low is not None
    assert high is not None
    assert low < 0.5 < 4 < high < np.log2(400)


@given(st.lists(st.integers(0, 5), min_size=4, max_size=30), st.permutations(range(6)))
def test_item_names_do_not_matter(items: list[int], names: list[int]):
    lengths = np.array([len(items) // 2, len(items) - len(items) // 2])
    plain, renamed = np.array(items), np.array(names)[items] * 1_000_003
    assert entropy_rate_bits(plain, lengths) == entropy_rate_bits(renamed, lengths)
    one, two = (successors(x, lengths, np.random.default_rng(0)) for x in (plain, renamed))
    assert one == two


def test_successors_are_learned_from_some_users_and_tested_on_others():
    """The first user says 1 -> 2 -> 3; the second steps 1 -> 2, which is known, and 2 -> 9."""
    found = successors(np.array([1, 2, 3, 1, 2, 9]), np.array([3, 3]), np.random.default_rng(0))
    assert found is not None
    assert found.ordered == 0.5
    assert successors(np.array([1, 2]), np.array([1, 1]), np.random.default_rng(0)) is None


def test_equally_likely_successors_share_the_last_places():
    """Item 0 was followed once by each of twenty others: each is named with chance 10 / 20."""
    steps = np.array([[0, other] for other in range(1, 21)]).ravel()
    items, lengths = np.concatenate([steps, [0, 7]]), np.array([40, 2])
    found = successors(items, lengths, np.random.default_rng(0))
    assert found is not None
    assert found.ordered == pytest.approx(0.5)


def test_order_is_lost_by_shuffling_only_where_there_was_some():
    generator = np.random.default_rng(0)
    start = generator.integers(0, 200, 300)
    chains = (start[:, None] + np.arange(20)) % 200  # each item has one successor
    dealt = generator.integers(0, 200, 6000)
    lengths = np.full(300, 20)
    ordered = successors(chains.ravel(), lengths, generator)
    random = successors(dealt, lengths, generator)
    assert ordered is not None
    assert random is not None
    assert ordered.ordered == 1
    assert ordered.order_sensitivity > 0.4
    assert abs(random.order_sensitivity) < 0.35
