"""Intervals: paired, repeatable, of honest width."""

import numpy as np
import pytest

from recscale.evaluation import bootstrap, metrics


def test_interval_of_a_mean_has_the_width_that_theory_gives():
    # One value a user: standard error = sd / sqrt(n), interval = 2 * 1.96 standard errors.
    values = np.random.default_rng(0).normal(size=400)
    zero = bootstrap.mean(np.arange(400), np.zeros(400), resamples=4000)
    found = bootstrap.difference(bootstrap.mean(np.arange(400), values, resamples=4000), zero)
    assert found.mean == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(3.92 * values.std() / 20, rel=0.05)


def test_users_are_resampled_whole():
    # Ten equal events of a user are one observation, not ten.
    values = np.random.default_rng(1).normal(size=50)
    once = bootstrap.mean(np.arange(50), values)
    often = bootstrap.mean(np.repeat(np.arange(50), 10), np.repeat(values, 10))
    np.testing.assert_allclose(once.replicates, often.replicates)


def test_a_constant_advantage_is_certain_however_noisy_the_users():
    user, noise = np.arange(60), np.random.default_rng(2).normal(size=60)
    found = bootstrap.difference(bootstrap.mean(user, noise + 0.01), bootstrap.mean(user, noise))
    assert (found.low, found.high) == pytest.approx((0.01, 0.01))
    assert found.p < 0.01


def test_a_model_does_not_differ_from_itself():
    same = bootstrap.mean(np.arange(5), np.array([0.0, 1, 0, 1, 1]))
    assert bootstrap.difference(same, same) == bootstrap.Interval(0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("statistic", ["auc", "gauc"])
def test_ranking_statistics_equal_the_metric_and_its_value_on_repeated_rows(statistic: str):
    generator = np.random.default_rng(3)
    user, label = generator.integers(0, 4, 80), generator.integers(0, 2, 80).astype(float)
    score = generator.integers(0, 6, 80) / 2
    found = getattr(bootstrap, statistic)(user, label, score, seed=5, resamples=3)
    draws = np.random.default_rng(5).multinomial(4, np.full(4, 0.25), 3)

    def metric(rows: np.ndarray) -> float | None:
        if statistic == "auc":
            return metrics.auc(label[rows], score[rows])
        # A user drawn twice has all exposures twice: same AUC, double weight.
        return metrics.gauc(user[rows], label[rows], score[rows])

    assert found.value == pytest.approx(metric(np.arange(80)))
    for times, value in zip(draws, found.replicates, strict=True):
        assert value == pytest.approx(metric(np.repeat(np.arange(80), times[user])))


def test_the_same_seed_gives_the_same_replicates():
    user, values = np.arange(9), np.arange(9.0)
    first, again = (bootstrap.mean(user, values, seed=1).replicates for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_two_models_over_different_users_are_not_paired():
    a, b = (bootstrap.mean(np.arange(n), np.zeros(n)) for n in (4, 5))
    with pytest.raises(ValueError, match="not paired"):
        bootstrap.difference(a, b)


def test_one_user_is_too_few():
    with pytest.raises(ValueError, match="at least 2 of them, got 1"):
        bootstrap.mean(np.zeros(3, int), np.zeros(3))


def test_average_over_seeds_is_taken_replicate_by_replicate():
    user = np.arange(6)
    low, high = bootstrap.mean(user, np.zeros(6)), bootstrap.mean(user, np.ones(6))
    assert bootstrap.average([low, high]).value == 0.5
    assert set(bootstrap.average([low, high]).replicates) == {0.5}


def test_spread_over_seeds_has_no_deviation_with_one_seed():
    assert bootstrap.over_seeds([2.0]) == bootstrap.Spread(2.0, None, 1)
    assert bootstrap.over_seeds([1.0, 2.0, 3.0]) == bootstrap.Spread(2.0, 1.0, 3)
