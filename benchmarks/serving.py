"""What a kept state is worth, and whether the published sizes serve in time.

    python benchmarks/serving.py [--requests 400]

An HSTU of random weights: time does not depend on their values. Each request brings one new event
of a user with a full past and scores --candidates items, from a kept state and by reading the
history again, side by side in one process and alternating. Then an open loop at --rate. `wall` is
what a clock on the wall says, on a machine that others may use; `cpu` is this process's own time,
in the open loop with the queue that one server with such times would have. Ends in one JSON
document.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch

from recscale import record
from recscale.evaluation.inference import inference
from recscale.models import build
from recscale.models.generative.hstu import HSTUConfig
from recscale.serving import latency, openloop
from recscale.serving.engine import Engine, EngineConfig, Request
from recscale.types import Batch, Candidates, Catalogue, Feature, History, Schema

ITEMS = 3708  # ids of ML-1M, the two reserved ones included
HOUR = 3_600_000
NOW = 10**12
WARM_UP = 20
T = TypeVar("T")
SIZES = {
    "default": HSTUConfig(),
    "published": HSTUConfig(blocks=2, width=50, heads=1),
    "four blocks": HSTUConfig(blocks=4, width=64, heads=2),
}


class Bench:
    """One model with one history length, and users at hand in any number."""

    def __init__(self, size: str, history: int, candidates: int, *, exposures: bool) -> None:
        item = Feature("item", "categorical", ITEMS)
        self.schema = Schema((item,), (), (), (), ("click",), exposures, history)
        self.catalogue = Catalogue({}, {}, torch.ones(ITEMS, dtype=torch.int64))
        self.config, self.history, self.candidates = SIZES[size], history, candidates
        self.generator = torch.Generator().manual_seed(0)

    def model(self) -> Any:
        """The same weights each time."""
        torch.manual_seed(0)
        return build(self.config, self.schema, self.catalogue).eval()

    def past(self, count: int, before: int) -> History:
        """`count` events, the last one just before."""
        gaps = torch.randint(1, HOUR, (count,), generator=self.generator)
        clock = before - gaps.cumsum(0).flip(0)
        return History({"item": self.items(count)}, clock, torch.tensor([0, count]))

    def items(self, count: int) -> torch.Tensor:
        """[count] ids."""
        return torch.randint(2, ITEMS, (count,), generator=self.generator)

    def visits(self, count: int) -> list[tuple[History, Request]]:
        """An event of each user, and what is asked after it."""
        return [
            (self.past(1, NOW), Request(user, NOW, self.items(self.candidates), {}, {}))
            for user in range(count)
        ]

    def engine(self, users: int) -> Engine:
        """`users` users, each one event short of a full window, their states kept."""
        room = EngineConfig(states_mib=2**20, events_mib=2**20)
        engine = Engine(self.model(), self.schema, room)
        for user in range(users):
            engine.append(user, self.past(self.history - 1, NOW - HOUR))
            engine.warm(user)
        return engine


class Clock:
    """[n] milliseconds of each named step, on the wall and of this process."""

    def __init__(self) -> None:
        self.wall: dict[str, list[float]] = {}
        self.cpu: dict[str, list[float]] = {}

    def __call__(self, name: str, step: Callable[[], T]) -> T:
        """Run a step and note what it took."""
        wall, cpu = time.perf_counter_ns(), time.process_time_ns()
        result = step()
        self.cpu.setdefault(name, []).append((time.process_time_ns() - cpu) / 1e6)
        self.wall.setdefault(name, []).append((time.perf_counter_ns() - wall) / 1e6)
        return result


def side_by_side(bench: Bench, requests: int) -> dict[str, Any]:
    """A request from a kept state (append one event, score) beside one that reads all again."""
    visits = bench.visits(requests + WARM_UP)
    engine, plain, clock = bench.engine(len(visits)), bench.model(), Clock()
    worst = 0.0
    with inference(plain), latency.no_collection():
        for event, request in visits:
            clock("append", partial(engine.append, request.user, event))
            (scores,) = clock("score", partial(engine.score, [request]))
            batch = _batch(engine.visible(request), request)
            anew = clock("anew", partial(plain.score, batch))
            worst = max(worst, float((scores - anew).abs().max()))
    return {
        "wall": _compared(clock.wall),
        "cpu": _compared(clock.cpu),
        "largest difference of a score": worst,
        "state KiB a user": engine.states.nbytes / len(visits) / 1024,
    }


def under_load(bench: Bench, requests: int, rate: float) -> dict[str, Any]:
    """Open loop: each arrival appends one event and scores; the generator is in this process."""
    visits = bench.visits(requests + WARM_UP)
    engine, clock = bench.engine(len(visits)), Clock()

    def serve(place: int) -> None:
        event, request = visits[place]
        engine.append(request.user, event)
        engine.score([request])

    arrivals = openloop.poisson(rate, requests, seed=0)
    with latency.no_collection():
        for place in range(WARM_UP):
            serve(place)
        served = openloop.drive(
            lambda place: clock("service", partial(serve, place + WARM_UP)), arrivals
        )
    cpu = np.array(clock.cpu["service"])
    return {
        "rate_rps": rate,
        "requests": requests,
        "wall": {name: _percentiles(getattr(served, name)) for name in ("latency", "service")},
        "cpu": {
            "latency": _percentiles(openloop.queued(cpu, arrivals).latency),
            "service": _percentiles(cpu),
        },
    }


def _compared(times: dict[str, list[float]]) -> dict[str, Any]:
    kept = {name: np.array(values[WARM_UP:]) for name, values in times.items()}
    kept["append and score"] = kept["append"] + kept["score"]
    found = {name: _percentiles(values) for name, values in kept.items()}
    ratios = {
        f"{p} times faster, {name}": found["anew"][p] / found[name][p]
        for name in ("score", "append and score")
        for p in ("p50", "p99")
    }
    return {"milliseconds": found, **ratios}


def _batch(history: History, request: Request) -> Batch:
    count, events = len(request.items), len(history.time)
    ahead = Candidates(
        {"item": request.items},
        torch.full((count,), request.time),
        torch.full((count,), events),
        {},
        torch.tensor([0, count]),
    )
    return Batch({}, history, ahead)


def _percentiles(milliseconds: np.ndarray) -> dict[str, float]:
    ordered = np.sort(milliseconds)
    low, high = latency.interval(len(ordered), 99)
    found = {f"p{p}": latency.quantile(ordered, p) for p in (50, 95, 99)}
    if low is not None and high is not None:
        found |= {"p99 low": float(ordered[low - 1]), "p99 high": float(ordered[high - 1])}
    return found


def main() -> None:
    """Measure and print the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=400)
    parser.add_argument("--long-requests", type=int, default=400, help="at history 2,000")
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=20.0)
    asked = parser.parse_args()
    head: dict[str, Any] = {"benchmark": "serving", "candidates": asked.candidates}
    for history, requests in ((200, asked.requests), (2000, asked.long_requests)):
        bench = Bench("default", history, asked.candidates, exposures=False)
        head[f"default, history {history}"] = side_by_side(bench, requests)
        gc.collect()
    for size in ("published", "four blocks"):
        for exposures in (False, True):
            bench = Bench(size, 200, asked.candidates, exposures=exposures)
            key = f"{size}, history 200, {'exposures' if exposures else 'next item'}"
            head[key] = under_load(bench, asked.requests, asked.rate)
            gc.collect()
    tail = {"load_average": os.getloadavg(), "commit": record.commit(), "machine": record.machine()}
    print(json.dumps({**head, **tail}))


if __name__ == "__main__":
    main()
