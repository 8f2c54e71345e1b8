"""Every metric against a hand-worked value, scikit-learn, or brute force."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, ndcg_score, roc_auc_score

from recscale.evaluation import metrics

# Scores on a coarse grid: ties are the rule, not the exception.
SCORES = st.integers(-3, 3).map(lambda value: value / 2)


@st.composite
def exposures(draw: st.DrawFn):
    size = draw(st.integers(1, 40))
    column = lambda values: np.array(draw(st.lists(values, min_size=size, max_size=size)))  # noqa: E731
    return column(st.integers(0, 5)), column(st.sampled_from([0.0, 1.0])), column(SCORES)


def brute_auc(label: np.ndarray, score: np.ndarray) -> float | None:
    pairs = [
        1.0 if p > n else 0.5 if p == n else 0.0
        for p in score[label == 1]
        for n in score[label == 0]
    ]
    return float(np.mean(pairs)) if pairs else None


def brute_gauc(user: np.ndarray, label: np.ndarray, score: np.ndarray) -> float | None:
    parts = [
        (brute_auc(label[user == u], score[user == u]), (user == u).sum()) for u in np.unique(user)
    ]
    kept = [(value, weight) for value, weight in parts if value is not None]
    if not kept:
        return None
    return sum(v * w for v, w in kept) / sum(w for _, w in kept)


def test_rank_counts_items_above_and_half_of_the_ties():
    scores = np.array([[0.1, 0.9, 0.5, 0.5, 0.5]])
    assert metrics.rank(scores, np.array([1])) == [1.0]
    assert metrics.rank(scores, np.array([2])) == [3.0]  # one above, two ties
    assert metrics.rank(scores, np.array([0])) == [5.0]


def test_a_constant_model_ranks_every_target_in_the_middle():
    assert metrics.rank(np.zeros((1, 7)), np.array([4])) == [4.0]


def test_rank_leaves_out_what_is_not_allowed_but_never_the_target():
    scores = np.array([[9.0, 8.0, 7.0, 6.0]])
    allowed = np.array([[False, True, False, False]])
    assert metrics.rank(scores, np.array([3]), allowed) == [2.0]


def test_rank_does_not_read_scores_that_are_left_out():
    scores = np.array([[np.nan, 1.0, 2.0]])
    assert metrics.rank(scores, np.array([1]), np.array([[False, True, True]])) == [2.0]


@given(
    st.lists(st.lists(SCORES, min_size=6, max_size=6), min_size=1, max_size=5), st.integers(0, 5)
)
def test_rank_is_the_mean_place_over_all_orders_of_the_ties(
    rows: list[tuple[float, ...]], target: int
):
    found = metrics.rank(np.array(rows), np.full(len(rows), target))
    for row, rank in zip(rows, found, strict=True):
        best = 1 + sum(score > row[target] for score in row)
        worst = sum(score >= row[target] for score in row)
        assert rank == (best + worst) / 2


def test_hr_at_10_counts_rank_10():
    """Hazard 2."""
    assert list(metrics.hit(np.array([10.0, 10.5, 11.0]), 10)) == [1.0, 0.0, 0.0]


def test_ndcg_is_one_for_the_first_place_and_falls_with_its_logarithm():
    assert metrics.ndcg(np.array([1.0, 3.0, 10.0, 11.0]), 10) == pytest.approx(
        [1.0, 0.5, 1 / math.log2(11), 0.0]
    )


@given(st.permutations(range(15)), st.integers(0, 14))
def test_ndcg_agrees_with_scikit_learn(scores: list[int], target: int):
    table, relevance = np.array([scores], dtype=float), np.eye(15)[[target]]
    ours = metrics.ndcg(metrics.rank(table, np.array([target])), 10)[0]
    assert ours == pytest.approx(ndcg_score(relevance, table, k=10))


def test_a_target_that_cannot_be_ranked_is_a_miss_everywhere():
    assert set(metrics.retrieval(np.array([np.inf])).values()) == {0.0}


def test_retrieval_has_the_documented_names_and_means():
    found = metrics.retrieval(np.array([1.0, 100.0]))
    assert list(found) == ["hr@10", "hr@50", "hr@200", "ndcg@10", "ndcg@200", "mrr"]
    assert (found["hr@50"], found["hr@200"], found["mrr"]) == (0.5, 1.0, 0.505)


def test_retrieval_of_nothing_is_absent_not_zero():
    assert metrics.retrieval(np.zeros(0)) == {}


@given(exposures())
def test_auc_agrees_with_scikit_learn_and_brute_force(case: tuple[np.ndarray, ...]):
    _, label, score = case
    found = metrics.auc(label, score)
    assert found == pytest.approx(brute_auc(label, score))
    if found is not None:
        assert found == pytest.approx(roc_auc_score(label, score))


@given(exposures())
def test_gauc_agrees_with_a_loop_over_users(case: tuple[np.ndarray, ...]):
    assert metrics.gauc(*case) == pytest.approx(brute_gauc(*case))


def test_gauc_weights_users_by_exposures_and_leaves_out_single_class_users():
    user = np.array([7, 7, 7, 7, 3, 3, 5, 5])
    label = np.array([1.0, 0, 0, 0, 1, 0, 1, 1])
    score = np.array([0.9, 0.1, 0.2, 0.3, 0.1, 0.9, 0.5, 0.1])
    # User 7: AUC 1 over 4 exposures; user 3: AUC 0 over 2; user 5 has positives only.
    assert metrics.gauc(user, label, score) == pytest.approx(4 / 6)
    assert metrics.single_class_users(user, label) == 1


def test_gauc_does_not_depend_on_the_order_of_rows():
    generator = np.random.default_rng(0)
    user, label = generator.integers(0, 9, 200), generator.integers(0, 2, 200).astype(float)
    score = generator.integers(0, 5, 200).astype(float)
    order = generator.permutation(200)
    assert metrics.gauc(user, label, score) == pytest.approx(
        metrics.gauc(user[order], label[order], score[order])
    )


def test_one_exposure_has_a_loss_but_no_auc():
    found = metrics.ranking(np.array([0]), np.array([1.0]), np.array([0.0]))
    assert found == {
        "logloss": pytest.approx(math.log(2)),
        "ece": 0.5,
        "exposures": 1,
        "single_class_users": 1,
    }


def test_no_exposure_has_no_metric():
    empty = np.zeros(0)
    counts = {"exposures": 0, "single_class_users": 0}
    assert metrics.ranking(empty.astype(int), empty, empty) == counts


@given(exposures())
def test_logloss_agrees_with_scikit_learn(case: tuple[np.ndarray, ...]):
    _, label, score = case
    expected = log_loss(label, 1 / (1 + np.exp(-score)), labels=[0, 1])
    assert metrics.logloss(label, score) == pytest.approx(expected)


def test_logloss_of_a_confident_mistake_is_large_and_finite():
    assert metrics.logloss(np.array([1.0]), np.array([-1000.0])) == 1000.0


def test_ne_of_the_base_rate_is_one():
    label = np.array([1.0, 0, 0, 0])
    assert metrics.ne(label, np.full(4, math.log(1 / 3))) == pytest.approx(1.0)


def test_ece_is_zero_for_a_calibrated_constant_in_any_row_order():
    label = np.array([1.0] * 25 + [0.0] * 75)
    assert metrics.ece(label, np.full(100, math.log(1 / 3))) == pytest.approx(0.0, abs=1e-12)


def test_ece_is_the_gap_between_what_was_said_and_what_happened():
    # Fifteen bins of two equal scores each; said 0.5, happened never.
    assert metrics.ece(np.zeros(30), np.zeros(30)) == pytest.approx(0.5)


def test_ece_gaps_of_different_bins_do_not_cancel():
    # Said 0.25 and 0.75 in equal shares, happened always and never: off by 0.75 in both.
    third = math.log(3)
    label, score = np.r_[np.ones(50), np.zeros(50)], np.r_[np.full(50, -third), np.full(50, third)]
    assert metrics.ece(label, score) == pytest.approx(0.75)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_are_refused(bad: float):
    score, label = np.array([0.1, bad]), np.array([0.0, 1.0])
    for metric in (metrics.auc, metrics.logloss, metrics.ne, metrics.ece):
        with pytest.raises(ValueError, match="1 of 2 scores are NaN or infinite"):
            metric(label, score)
    with pytest.raises(ValueError, match="NaN or infinite"):
        metrics.gauc(np.array([0, 0]), label, score)
    with pytest.raises(ValueError, match="NaN or infinite"):
        metrics.rank(score[None], np.array([0]))
