"""Behaviour of lists, worked out by hand."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recscale.evaluation import behaviour

TOP = np.array([[2, 3], [2, 0]])  # the second list ends after one item
SEEN = np.array([[True, False], [False, False]])
NEVER = np.array([False, False])


def test_repeat_ratio_counts_only_real_places():
    assert behaviour.repeat_ratio(TOP, SEEN) == pytest.approx(1 / 3)


def test_repeat_bias_is_the_repeats_beyond_those_of_the_users():
    assert behaviour.repeat_bias(TOP, SEEN, np.array([True, False])) == pytest.approx(1 / 3 - 1 / 2)


def test_ndcg_is_split_by_whether_the_target_is_new():
    rank, repeat = np.array([1.0, 3.0, 20.0]), np.array([False, True, False])
    assert behaviour.ndcg_on(rank, repeat) == pytest.approx(0.5)
    assert behaviour.ndcg_on(rank, ~repeat) == pytest.approx(0.5)  # mean of 1 and 0


def test_novelty_is_in_bits_of_the_share_of_training_events():
    # Items 2 and 3 hold 1/2 and 1/4 of the events: 1 and 2 bits.
    popularity = np.array([0, 0, 4, 2, 2])
    assert behaviour.novelty(np.array([[2, 3]]), popularity) == pytest.approx(1.5)


def test_novelty_of_an_item_without_a_training_event_is_finite():
    assert behaviour.novelty(np.array([[4]]), np.array([0, 0, 4, 4, 0])) == pytest.approx(3.0)


def test_coverage_is_the_share_of_the_catalogue_that_is_shown():
    assert behaviour.coverage(TOP, items=8) == 0.25


@pytest.mark.parametrize(
    ("top", "expected"),
    [([[2, 3], [4, 5]], 0.0), ([[2, 2], [2, 2]], 1.0), ([[2, 3], [2, 3]], 2 / 3)],
)
def test_gini_goes_from_equal_exposure_to_one_item_only(top: list[list[int]], expected: float):
    assert behaviour.gini(np.array(top), items=4) == pytest.approx(expected)


def test_gini_equals_the_mean_absolute_difference():
    top = np.array([[2, 3, 4], [2, 3, 5], [2, 6, 7]])
    exposure = np.array([3, 2, 1, 1, 1, 1, 0, 0], dtype=float)
    gaps = np.abs(exposure[:, None] - exposure).sum() / (2 * 8 * exposure.sum())
    assert behaviour.gini(top, items=8) == pytest.approx(gaps * 8 / 7)


# Items 2 and 3 are of category 1, item 4 of 1 and 2 by halves, item 5 of 2.
MIX = csr_matrix(np.array([[0, 0], [0, 0], [1, 0], [1, 0], [0.5, 0.5], [0, 1]]))


def test_category_divergence_is_zero_for_the_users_own_mix_and_one_for_another():
    assert behaviour.category_js(np.array([[2, 3]]), np.array([3]), MIX) == 0.0
    assert behaviour.category_js(np.array([[2, 3]]), np.array([5]), MIX) == pytest.approx(1.0)


def test_category_divergence_counts_shares_of_a_category():
    # Shown: 3/4 and 1/4; chosen: all of the first. Middle: 7/8, 1/8.
    shown = 0.75 * np.log2(0.75 / 0.875) + 0.25 * np.log2(0.25 / 0.125)
    found = behaviour.category_js(np.array([[2, 4]]), np.array([3]), MIX)
    assert found == pytest.approx((shown + np.log2(1 / 0.875)) / 2)


def test_items_without_a_category_leave_nothing_to_diverge():
    assert behaviour.category_js(np.array([[2, 0]]), np.array([1]), MIX) is None


def test_ndcg_is_split_by_whether_training_held_the_transition():
    found = behaviour.memory(np.array([1.0, 3.0, 20.0]), np.array([True, False, False]))
    assert found == {
        "memorised_true": pytest.approx(1 / 3),
        "ndcg_memorised": 1.0,
        "ndcg_unmemorised": pytest.approx(0.25),
    }


def test_summary_leaves_out_what_no_target_defines():
    found = behaviour.summary(TOP, SEEN, np.array([1.0, 3.0]), NEVER, np.array([0, 0, 1, 1]))
    assert "ndcg_repeat" not in found
    assert found["ndcg_new"] == pytest.approx(0.75)
    assert list(found) == [
        "repeat_ratio", "repeat_true", "repeat_bias", "ndcg_new", "novelty", "coverage@10", "gini",
    ]  # fmt: skip


def test_summary_of_no_target_is_empty():
    none = np.zeros((0, 10), dtype=int)
    assert behaviour.summary(none, none > 0, np.zeros(0), NEVER[:0], np.ones(4, int)) == {}
