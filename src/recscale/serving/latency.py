"""How long one request takes: a history and its candidates, one request after the other.

A closed loop: the next request waits for the one before it. It measures service time, not the
queueing of an open arrival process, which can only add to it: see openloop.py and trial.py.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from time import perf_counter_ns
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import AfterValidator, Field
from scipy.stats import binom

from recscale.configfile import Settings
from recscale.evaluation.catalogue import one_candidate_each
from recscale.evaluation.inference import inference
from recscale.models.generative.stored import Precision
from recscale.types import Batch, Lister, Ranker

PERCENTILES = (50, 90, 95, 99, 99.9)


def _known(percentile: float) -> float:
    if percentile not in PERCENTILES:
        raise ValueError(f"want one of {', '.join(map(str, PERCENTILES))}")
    return int(percentile) if percentile == int(percentile) else percentile


Percentile = Annotated[float, AfterValidator(_known)]


class LatencyConfig(Settings):
    """The request to time and the budget that it has."""

    budget_ms: float = Field(default=50.0, gt=0)
    percentile: Percentile = 99
    candidates: int = Field(default=1000, ge=1)
    history: int | None = Field(default=None, ge=1)  # events; null: the schema's history
    # From 368 requests on, a 95 % interval of the 99th percentile has an upper end: 0.99^n < 0.025.
    requests: int = Field(default=400, ge=1)
    warmup: int = Field(default=20, ge=0)
    # In an open loop alone: what the engine holds of users when their request comes.
    states: Literal["kept", "anew"] = "kept"
    window: Literal["newest", "half"] = "newest"
    precision: Precision = "float32"


@dataclass(frozen=True, slots=True)
class Load:
    """Requests that come by themselves: at a rate, at the highest one within budget, or both."""

    rate: float | None  # a second, on average; null: the highest one that the search finds
    search: bool


def measure(model: Ranker, batches: Iterable[Batch], config: LatencyConfig) -> dict[str, Any]:
    """Batches of one row, its candidates ready -> the `latency` part of a record.

    Retrievers are timed by `score` too, so that both families do the same work; a model that makes
    its own list is timed by that, whatever candidates a request names. When there are fewer batches
    than requests they are taken round and round.
    """
    requests = list(islice(batches, config.requests))
    if not requests:
        raise ValueError("latency needs at least one request to time, got none")
    if any(len(request.history.offsets) != 2 for request in requests):
        raise ValueError("latency times one request at a time; a batch has several rows")
    milliseconds = time_requests(model, requests, config)
    return {
        **summary(milliseconds, config.budget_ms, config.percentile),
        "candidates": max(len(request.candidates.time) for request in requests),
        "history": max(len(request.history.time) for request in requests),
    }


def time_requests(
    model: Ranker, requests: list[Batch], config: LatencyConfig
) -> NDArray[np.float64]:
    """[requests] milliseconds from a batch in host memory to its scores in host memory."""
    elapsed: list[int] = []
    answer = model.score
    if isinstance(model, Lister):
        requests = [one_candidate_each(request, torch.tensor([0])) for request in requests]
        answer = model.score_all
    with inference(model) as device, no_collection():
        for batch in islice(cycle(requests), config.warmup + config.requests):
            start = perf_counter_ns()
            answer(batch.to(device)).cpu()  # .cpu() waits for an accelerator to finish
            elapsed.append(perf_counter_ns() - start)
    return np.array(elapsed[config.warmup :]) / 1e6


def summary(
    milliseconds: NDArray[np.float64], budget_ms: float, percentile: float = 99
) -> dict[str, Any]:
    """[n] milliseconds -> percentiles with 95 % intervals, and the verdict on one of them.

    An end of an interval that n requests cannot bound is absent: `requests_needed` have both.
    """
    ordered = np.sort(milliseconds)
    values: dict[str, Any] = {}
    for p in PERCENTILES:
        values[f"p{p}_ms"] = quantile(ordered, p)
        low, high = interval(len(ordered), p)
        if low is not None:
            values[f"p{p}_low_ms"] = float(ordered[low - 1])
        if high is not None:
            values[f"p{p}_high_ms"] = float(ordered[high - 1])
    asked = f"p{percentile:g}_ms"
    return {
        **values,
        "throughput_rps": float(1e3 * len(ordered) / ordered.sum()),
        "requests": len(ordered),
        "requests_needed": {f"p{p}": needed(p) for p in PERCENTILES},
        "percentile": percentile,
        "budget_ms": budget_ms,
        "within_budget": values[asked] <= budget_ms,
    }


def quantile(ordered: NDArray[np.float64], percentile: float) -> float:
    """[n] sorted -> the smallest value that at least `percentile` % do not exceed."""
    rank = math.ceil(round(percentile * len(ordered) / 100, 9))  # 99.9 * 1000 / 100 is not 999
    return float(ordered[max(1, rank) - 1])


def needed(percentile: float) -> int:
    """The fewest requests whose 95 % interval of the percentile has both ends."""
    share = percentile / 100
    return max(math.ceil(math.log(0.025) / math.log(part)) for part in (share, 1 - share))


def interval(n: int, percentile: float) -> tuple[int | None, int | None]:
    """Ranks 1..n of the values that a percentile lies between with 95 %, for any distribution.

    How many of n values stay below the percentile is binomial (David & Nagaraja 2003, "Order
    Statistics", section 7.1). None: no value is low, or high, enough.
    """
    low, above = binom.ppf([0.025, 0.975], n, percentile / 100).astype(int)
    return (int(low) if low >= 1 else None), (int(above) + 1 if above < n else None)


@contextmanager
def no_collection() -> Generator[None]:
    """Python's garbage collector, put off: its pauses are not the model's."""
    was_on = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_on:
            gc.enable()
