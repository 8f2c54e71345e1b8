"""Forgetting measured: worked out by hand, or against what was planted."""

import numpy as np
import pytest
import torch

from recscale.evaluation import forgetting_log as log
from recscale.evaluation.forgetting_families import fit_families
from recscale.evaluation.forgetting_model import (
    Influence,
    at_lags,
    by_clock,
    effective_length,
    influence,
    lags,
    without,
)
from recscale.types import Batch, Candidates, Catalogue, Feature, History, Schema

HOUR = 3_600_000


def test_spells_last_until_the_return_and_the_last_one_is_censored_at_the_end():
    found = log.spells(
        user=np.array([0, 0, 0, 1, 0]),
        key=np.array([7, 7, 8, 7, 7]),
        group=np.array([1, 1, 2, 1, 1]),
        time=np.array([0, 2, 1, 3, 2]) * HOUR,  # the last row happened with the second: one act
        end=10 * HOUR,
    )
    assert found.user.tolist() == [0, 0, 0, 1]
    assert (found.seconds / 3600).tolist() == [2, 8, 9, 7]
    assert found.returned.tolist() == [True, False, False, False]
    assert found.group.tolist() == [1, 1, 2, 1]


def test_what_had_not_come_back_by_a_moment_is_censored_there():
    found = log.spells(np.zeros(3, int), np.zeros(3, int), np.zeros(3, int),
                       np.array([0, 3, 9]) * HOUR, 12 * HOUR)  # fmt: skip
    early = log.censored_at(found, 5 * HOUR)
    assert (early.seconds / 3600).tolist() == [3, 2]
    assert early.returned.tolist() == [True, False]


def spells_of(seconds, returned) -> log.Spells:
    """The last three in ten of the waits begin long after the others are over."""
    user = np.arange(len(seconds))
    begin = np.where(user < 0.7 * len(user), 0, 10**10)
    return log.Spells(user, user * 0, begin, np.array(seconds, float), np.array(returned))


def test_the_return_curve_is_that_of_kaplan_and_meier():
    # 1 of 4 back at 10; one lost at 20; 1 of 2 back at 30; the last one never
    found = spells_of([10, 20, 30, 40], [True, False, True, False])
    curve = log.return_curve(found, np.array([0.0, 10, 25, 30, 50]))
    assert curve.tolist() == pytest.approx([1, 0.75, 0.75, 0.375, 0.375])


def exponential(rate: float, count: int, end: float, seed: int = 0) -> log.Spells:
    wait = np.random.default_rng(seed).exponential(1 / rate, count)
    return spells_of(np.minimum(wait, end), wait < end)


def test_a_half_life_is_found_within_its_interval_whatever_is_censored():
    half_life, end = 5_000.0, 40_000.0
    found = exponential(np.log(2) / half_life, 4_000, end)
    limits = log.edges(end)
    curve = log.return_curve(found, limits)
    assert log.half_life(limits, curve) == pytest.approx(half_life, rel=0.06)
    low, high = log.half_life_interval(found, limits, np.random.default_rng(1))
    assert low < half_life < high
    assert high / low < 1.25


def test_a_curve_that_loses_nothing_has_no_half_life():
    assert log.half_life(np.array([0.0, 10, 100]), np.array([1.0, 1, 1])) is None
    assert log.half_life(np.array([0.0, 10, 100]), np.array([1.0, 0.8, 0.6])) == pytest.approx(10)


class FakeStore:
    """No more of a store than the families read: a schema and a catalogue."""

    schema = Schema((Feature("item", "categorical", 4),), (), (), (), ("click",), False, 4)

    def catalogue(self):
        return Catalogue({}, {}, torch.ones(4, dtype=torch.int64))


def test_the_family_that_made_the_waits_is_chosen_on_waits_it_has_not_seen():
    generator, count, end = np.random.default_rng(3), 6_000, 1e6
    drawn = {
        "exponential": generator.exponential(5_000, count),
        "power": 300 * (generator.random(count) ** (-1 / 0.6) - 1),  # S(t) = (1 + t / 300)^-0.6
        "stretched": 3_000 * generator.weibull(0.4, count),
    }
    limits = log.edges(end)
    for family, wait in drawn.items():
        found = spells_of(np.minimum(wait, end), wait < end)
        fits = {fit.family: fit for fit in fit_families(found, limits, FakeStore())}
        best = max(fit.held_out for fit in fits.values())
        # families that contain another one may tie with it
        assert fits[family].held_out > best - 0.003, family
        worst = "power" if family == "exponential" else "exponential"
        if family != "exponential":
            assert fits[worst].held_out < best - 0.01, family
        true = log.half_life(limits, log.return_curve(found, limits))
        assert log.half_life(limits, fits[family].curve) == pytest.approx(true, rel=0.1)


HALF_LIFE = 7_200.0


class Fader:
    """Scores an item by the faded events of its own parity: a model with a known clock."""

    def score(self, batch: Batch) -> torch.Tensor:
        past, ahead = batch.history, batch.candidates
        age = (ahead.time[:, None] - past.time).float() / 1000
        alike = ahead.features["item"][:, None] % 2 == past.features["item"] % 2
        return (alike * torch.exp2(-age / HALF_LIFE)).sum(1)

    loss = cost = score


def request(hours: list[int]) -> Batch:
    count = len(hours)
    return Batch(
        {"user_index": torch.tensor([0])},
        History(
            {"item": torch.arange(2, 2 + count)},
            torch.tensor(hours) * HOUR,
            torch.tensor([0, count]),
        ),
        Candidates(
            {"item": torch.tensor([4])},
            torch.tensor([(hours[-1] + 1) * HOUR]),
            torch.tensor([count]),
            {"click": torch.ones(1)},
            torch.tensor([0, 1]),
        ),
    )


def test_moving_the_clock_shows_the_half_life_of_the_model():
    lag = lags(30 * 86_400)
    parity = np.arange(40) % 2
    by = log.Groups("parity", parity, parity)
    clock = by_clock(Fader(), [request([0, 1, 3])] * 3, by, lag, np.random.default_rng(0))
    assert clock.boost.shape == (3, len(lag))
    assert clock.group.tolist() == [0, 0, 0]
    # all events fade alike, so the boost does: half of it is gone after one half-life
    left = np.exp2(-(lag - lag[0]) / HALF_LIFE)
    assert clock.boost[0] == pytest.approx(clock.boost[0, 0] * left, rel=1e-3, abs=1e-6)
    assert lag[0] == 60
    assert lag[-1] == 30 * 86_400


def test_a_moved_clock_leaves_the_history_alone():
    batch = request([0, 2, 5])
    asked = at_lags(batch, np.array([4, 5]), np.array([60.0, 3_600.0]))
    assert asked.history is batch.history
    seconds = (asked.candidates.time - batch.history.time[-1]) // 1000
    assert seconds.tolist() == [60, 60, 3_600, 3_600]
    assert asked.candidates.features["item"].tolist() == [4, 5, 4, 5]
    assert asked.candidates.prefix.tolist() == [3] * 4


def test_an_event_left_out_is_gone_and_the_others_stay():
    less = without(request([0, 2, 5]), 1)
    assert less.history.features["item"].tolist() == [2, 4]
    assert less.history.offsets.tolist() == [0, 2]
    assert less.candidates.prefix.tolist() == [2]


def test_older_events_matter_less_to_a_model_that_forgets():
    found = influence(Fader(), [request(list(range(0, 40, 4)))], 40, np.random.default_rng(0))
    assert found.rank.tolist() == [1, 2, 4, 8]
    assert (np.diff(found.age_seconds) > 0).all()
    assert (np.diff(found.nats) < 0).all()
    assert found.nats[0] > 0.01


def test_effective_length_counts_the_events_that_do_the_work():
    def of(nats):
        return effective_length(
            Influence(np.array([1, 2, 4]), np.zeros(3), np.array(nats, float)), longest=4
        )

    assert of([1, 1, 1]) == pytest.approx(4)
    assert of([1, 0, 0]) == pytest.approx(1)
    assert of([0, 0, 0]) is None
