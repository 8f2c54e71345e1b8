"""Requests that come when they come: an open loop, as users are.

The moments are drawn before anything runs, and latency counts from the moment a request was due,
not from when the server got to it. A closed loop, which sends the next request after the last
answer, slows down with the server and so never sees the queue that a stall builds up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SPIN = 0.001  # seconds before a moment from which on we watch the clock: sleep wakes up late


@dataclass(frozen=True, slots=True)
class Served:
    """What became of n requests, milliseconds each."""

    queue: Floats  # from the moment it was due to the moment it was begun
    service: Floats  # from then to its answer

    @property
    def latency(self) -> Floats:
        """From the moment it was due to its answer."""
        return self.queue + self.service


def poisson(rate: float, count: int, seed: int) -> Floats:
    """[count] seconds from the start: arrivals without memory, `rate` a second on average."""
    return np.random.default_rng(seed).exponential(1 / rate, count).cumsum()


def drive(serve: Callable[[int], object], arrivals: Floats) -> Served:
    """Serve request after request in the order they are due, none before its moment."""
    begun, ended = np.empty(len(arrivals)), np.empty(len(arrivals))
    start = time.perf_counter()
    for place, due in enumerate(arrivals):
        _wait_until(start + due)
        begun[place] = time.perf_counter() - start
        serve(place)
        ended[place] = time.perf_counter() - start
    return Served(1e3 * (begun - arrivals), 1e3 * (ended - begun))


def queued(service: Floats, arrivals: Floats) -> Served:
    """The same with known service times [n] ms and no clock: Lindley's recursion for one server."""
    free, queue = 0.0, np.empty(len(arrivals))
    for place, due in enumerate(arrivals):
        begun = max(free, due)
        queue[place] = 1e3 * (begun - due)
        free = begun + service[place] / 1e3
    return Served(queue, service)


def highest(within: Callable[[float], bool], low: float, high: float, steps: int) -> float | None:
    """The highest rate between low and high that is within, by bisection; None where low is not.

    A rate that high turns out to hold is taken as the answer: the search does not go beyond.
    """
    if within(high):
        return high
    if not within(low):
        return None
    for _ in range(steps):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if within(middle) else (low, middle)
    return low


def _wait_until(moment: float) -> None:
    while (left := moment - time.perf_counter()) > 0:
        if left > SPIN:
            time.sleep(left - SPIN)
