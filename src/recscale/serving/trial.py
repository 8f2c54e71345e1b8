"""A run under load: events and requests of its test part, through the engine, in an open loop.

Each arrival is one event of a user and a request right after it, the usual case of somebody who
just did something. What happened before is known to the engine, its state kept or not as asked.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from recscale.configfile import ConfigError
from recscale.features.batches import assemble, single_requests
from recscale.features.requests import Rows, evaluation_rows
from recscale.features.store import Store
from recscale.serving import latency, openloop
from recscale.serving.engine import Engine, EngineConfig, Request
from recscale.serving.latency import LatencyConfig
from recscale.serving.openloop import Floats, Served
from recscale.types import UNSEEN, History, Ranker

STAGES = ("features", "encode", "score", "topk")
TOP = 10  # items of the list that a request ends in
SEED = 0
KIND = ("rate_rps", "states", "window", "precision", "candidates", "history", "percentile")
STEPS = 5  # of the bisection: the rate is then known to a few per cent


@dataclass(frozen=True, slots=True)
class Visit:
    """One arrival: a user with a past does something, and asks."""

    past: History
    event: History
    request: Request


class Trial:
    """The same visits at any rate. Every visit is a user of its own, so that none is repeated."""

    def __init__(self, model: Ranker, store: Store, rows: Rows, config: LatencyConfig) -> None:
        self.model, self.schema, self.config = model, store.schema, config
        self.visits = list(_visits(store, rows, config))
        self.stages = np.zeros((0, len(STAGES)))

    def run(self, rate: float | None) -> Served:
        """Warm up, then serve; without a rate each visit is due when the last one was answered."""
        engine = self._engine()
        warm = self.config.warmup
        count = len(self.visits) - warm
        arrivals = np.zeros(count) if rate is None else openloop.poisson(rate, count, SEED)
        stages = np.zeros((len(self.visits), len(STAGES)))

        def serve(place: int) -> None:
            visit = self.visits[place]
            engine.append(visit.request.user, visit.event)
            (scores,) = engine.score([visit.request])
            with engine.spans("topk"):
                scores.topk(min(TOP, len(scores)))
            taken = engine.spans.take()
            stages[place] = [1e3 * taken.get(stage, 0.0) for stage in STAGES]

        with latency.no_collection():
            for place in range(warm):
                serve(place)
            served = openloop.drive(lambda place: serve(warm + place), arrivals)
        self.stages = stages[warm:]
        return served if rate is not None else Served(np.zeros(count), served.service)

    def _engine(self) -> Engine:
        """A new one that knows each visitor's past, and their state where states are kept."""
        asked = self.config
        room = 2**20 if asked.states == "kept" else 0
        config = EngineConfig(
            states_mib=room, events_mib=2**20, window=asked.window, precision=asked.precision
        )
        engine = Engine(self.model, self.schema, config)
        for visit in self.visits:
            engine.append(visit.request.user, visit.past)
            engine.warm(visit.request.user)
        engine.spans.take()
        return engine


def timed(
    model: Ranker, store: Store, config: LatencyConfig, load: latency.Load | None = None
) -> dict[str, Any]:
    """The `latency` part of a record: one request after the other, or under a load."""
    history = config.history or store.schema.history
    if history > store.schema.history:
        raise ConfigError(
            f"latency.history: {history} is more than the features.history that the model reads, "
            f"{store.schema.history}"
        )
    rows = evaluation_rows(store, "test", history, positive=True, limit=config.requests)
    if load is None:
        return latency.measure(model, single_requests(store, rows, config.candidates), config)
    return measure(model, store, rows, config, load)


def measure(
    model: Ranker, store: Store, rows: Rows, config: LatencyConfig, load: latency.Load
) -> dict[str, Any]:
    """The `latency` part of a record: under `load.rate`, and the highest rate within budget.

    Without a rate the highest one is also the one that is measured.
    """
    if not len(rows):
        raise ValueError("latency needs at least one request to time, got none")
    trial = Trial(model, store, rows, config)
    highest = throughput(trial) if load.search or load.rate is None else None
    rate = load.rate or highest
    if rate is None:
        raise ValueError(
            f"latency: even alone, requests take more than the budget of {config.budget_ms:g} ms; "
            "give a --rate to see by how much"
        )
    found = _at(trial, rate)
    return found if highest is None else {**found, "throughput_rps": highest}


def _at(trial: Trial, rate: float) -> dict[str, Any]:
    config = trial.config
    served = trial.run(rate)
    found = latency.summary(served.latency, config.budget_ms, config.percentile)
    del found["throughput_rps"]  # of a closed loop; an open one is given its rate
    stages = {"queue": served.queue, **dict(zip(STAGES, trial.stages.T, strict=True))}
    return {
        **found,
        "loop": "open",
        "rate_rps": rate,
        "states": config.states,
        "window": config.window,
        "precision": config.precision,
        "stages_ms": {name: _split(values) for name, values in stages.items()},
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "candidates": config.candidates,
        "history": max(len(v.past.time) + len(v.event.time) for v in trial.visits),
    }


def replace_same(trials: Sequence[dict[str, Any]], last: dict[str, Any]) -> list[dict[str, Any]]:
    """`trials` with the last one at the end, in place of an earlier one of its kind."""
    others = [old for old in trials if any(old[key] != last[key] for key in KIND)]
    return [*others, last]


def throughput(trial: Trial) -> float | None:
    """The highest rate at which the percentile keeps the budget; None where no rate does.

    Bisected on the recursion for one server over measured service times, which costs nothing, then
    by real runs below what that says.
    """
    config = trial.config
    service = trial.run(None).service
    most = 1e3 / float(service.mean())

    def fits(served: Served) -> bool:
        found = latency.quantile(np.sort(served.latency), config.percentile)
        return found <= config.budget_ms

    def predicted(rate: float) -> bool:
        return fits(openloop.queued(service, openloop.poisson(rate, len(service), SEED)))

    guess = openloop.highest(predicted, most / 1000, most, steps=20)
    if guess is None:
        return None
    return openloop.highest(lambda rate: fits(trial.run(rate)), guess / 4, guess, STEPS)


def _visits(store: Store, rows: Rows, config: LatencyConfig) -> Iterator[Visit]:
    """In the order of time, round and round when there are fewer rows than asked for."""
    generator = np.random.default_rng(int(store.digest[:15], 16))
    clock = store.candidates["time"][rows.candidate[rows.offsets[:-1]]]
    order = np.argsort(clock, kind="stable")
    for place in range(config.warmup + config.requests):
        batch = assemble(store, rows, order[[place % len(order)]])
        items = generator.integers(UNSEEN + 1, store.schema.num_items, config.candidates)
        past, ahead = batch.history, batch.candidates
        request = Request(
            user=place,
            time=int(ahead.time[0]),
            items=torch.from_numpy(items),
            context={n: v[:1] for n, v in ahead.features.items() if n != "item"},
            features={feature.name: batch.user[feature.name] for feature in store.schema.user},
        )
        count = len(past.time)
        split = max(0, count - 1)
        yield Visit(_part(past, 0, split), _part(past, split, count), request)


def _part(past: History, start: int, stop: int) -> History:
    features = {name: values[start:stop] for name, values in past.features.items()}
    offsets = torch.tensor([0, stop - start])
    return replace(past, features=features, time=past.time[start:stop], offsets=offsets)


def _split(values: Floats) -> dict[str, float]:
    ordered = np.sort(values)
    return {f"p{p}": latency.quantile(ordered, p) for p in (50, 99)}
