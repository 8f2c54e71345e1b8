"""The open loop: what a queue does, without ever asserting on the clock of this machine."""

from __future__ import annotations

import time

import numpy as np
import pytest

from recscale.serving import openloop


def test_arrivals_are_poisson_drawn_beforehand_and_the_same_for_the_same_seed():
    arrivals = openloop.poisson(rate=50, count=20_000, seed=1)
    gaps = np.diff(arrivals)
    assert gaps.mean() == pytest.approx(1 / 50, rel=0.03)
    assert gaps.std() == pytest.approx(1 / 50, rel=0.03)  # an exponential's deviation is its mean
    assert (arrivals == openloop.poisson(50, 20_000, 1)).all()
    assert (arrivals != openloop.poisson(50, 20_000, 2)).all()


def test_latency_counts_from_the_moment_a_request_was_due():
    """A stall of one request is paid by all that came meanwhile: no coordinated omission."""
    served = openloop.queued(np.array([50.0, 10, 10, 10]), np.array([0.0, 0.01, 0.02, 0.1]))
    assert served.queue == pytest.approx([0, 40, 40, 0])
    assert served.latency == pytest.approx([50, 50, 50, 10])


def test_a_stall_in_real_time_is_paid_by_those_behind_it():
    begun: list[int] = []

    def serve(place: int) -> None:
        begun.append(place)
        time.sleep(0.05 if place == 0 else 0)

    served = openloop.drive(serve, np.array([0.0, 0.001, 0.002]))
    assert begun == [0, 1, 2]
    assert served.service[0] >= 50
    assert (served.queue[1:] >= 47).all()


def test_no_request_begins_before_its_moment():
    served = openloop.drive(lambda _: None, np.array([0.0, 0.01, 0.02]))
    assert (served.queue >= 0).all()


def test_the_queue_of_one_server_is_as_long_as_theory_says():
    """Pollaczek-Khinchine, constant service: mean wait = rho * service / (2 * (1 - rho))."""
    arrivals = openloop.poisson(rate=80, count=200_000, seed=0)
    served = openloop.queued(np.full(200_000, 10.0), arrivals)
    assert served.queue.mean() == pytest.approx(0.8 * 10 / (2 * 0.2), rel=0.05)


@pytest.mark.parametrize(("limit", "found"), [(30.0, 30.0), (500.0, 100.0), (0.5, None)])
def test_bisection_finds_the_highest_rate_within(limit: float, found: float | None):
    got = openloop.highest(lambda rate: rate <= limit, low=1, high=100, steps=12)
    assert got == (None if found is None else pytest.approx(found, rel=0.01))
