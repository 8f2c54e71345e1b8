"""How fast a model forgets, seen from outside: its scores as the clock moves or an event goes.

R requests, G lags, C items of a kind, S items of a slate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from recscale.evaluation import catalogue
from recscale.evaluation.forgetting_log import Groups
from recscale.evaluation.inference import inference
from recscale.evaluation.metrics import Floats, Ints
from recscale.types import Batch, Candidates, History, Ranker

ITEMS = 8  # of the last event's group, and as many of the others, that each request scores
SLATE = 64  # items over which an event's influence is measured
FIRST_ITEM = catalogue.FIRST_ITEM


def lags(span_seconds: float) -> Floats:
    """[G] seconds, two an octave of two octaves: from a minute to the span."""
    count = max(4, int(np.log2(max(span_seconds, 120) / 60)) + 1)
    return np.geomspace(60, max(span_seconds, 120), count)


@dataclass(frozen=True, slots=True)
class Clock:
    """How much higher a model scores what the last event was like, as that event ages."""

    lag: Floats  # [G] seconds
    boost: Floats  # [R, G] mean score of its group less that of the others
    group: Ints  # [R] of the last event


def by_clock(
    model: Ranker,
    requests: Sequence[Batch],
    by: Groups,
    lag: Floats,
    generator: np.random.Generator,
) -> Clock:
    """Each request, a batch of one row that ends in its history, at `lag` after its last event."""
    pools = [np.flatnonzero(by.group == g) for g in range(int(by.group.max()) + 1)]
    boosts: list[Floats] = []
    kinds: list[int] = []
    with inference(model) as device:
        for batch in requests:
            last = int(batch.history.features["item"][-1])
            own, others = _items(last, by, pools, generator)
            if not len(own) or not len(others):
                continue
            asked = at_lags(batch, np.r_[own, others], lag)
            score = model.score(asked.to(device)).float().cpu().view(len(lag), -1)
            boosts.append((score[:, : len(own)].mean(1) - score[:, len(own) :].mean(1)).numpy())
            kinds.append(int(by.group[last]))
    return Clock(lag, np.array(boosts).reshape(-1, len(lag)), np.array(kinds, dtype=np.int64))


def _items(
    last: int, by: Groups, pools: Sequence[Ints], generator: np.random.Generator
) -> tuple[Ints, Ints]:
    """Items like the last one, and items unlike it; where items have no groups, itself."""
    if by.name == "item":
        return np.array([last]), generator.integers(FIRST_ITEM, len(by.group), ITEMS)
    pool = pools[by.group[last]]
    pool = pool[pool >= FIRST_ITEM]
    drawn = generator.integers(FIRST_ITEM, len(by.group), 2 * ITEMS)
    others = drawn[by.group[drawn] != by.group[last]][:ITEMS]
    return (generator.choice(pool, ITEMS) if len(pool) else pool), others


def at_lags(batch: Batch, items: Ints, lag: Floats) -> Batch:
    """One row -> the same history before G moments with C items each, lag by lag."""
    ahead, count = batch.candidates, len(lag) * len(items)
    moment = batch.history.time[-1] + torch.from_numpy((lag * 1000).astype(np.int64))
    features = {name: values[:1].expand(count) for name, values in ahead.features.items()}
    length = int(batch.history.lengths[0])
    return replace(
        batch,
        candidates=Candidates(
            {**features, "item": torch.from_numpy(items).repeat(len(lag))},
            moment.repeat_interleave(len(items)),
            torch.full((count,), length),
            {name: torch.zeros(count) for name in ahead.labels},
            torch.tensor([0, count]),
        ),
    )


@dataclass(frozen=True, slots=True)
class Influence:
    """What leaving out one event does to the scores: one entry for each event tried."""

    rank: Ints  # 1 is the newest
    age_seconds: Floats
    nats: Floats  # Kullback-Leibler divergence over the slate, with the event from without


def influence(
    model: Ranker, requests: Sequence[Batch], num_items: int, generator: np.random.Generator
) -> Influence:
    """Events at ranks 1, 2, 4, ... of each request's history, left out one at a time."""
    found: list[tuple[int, float, float]] = []
    slate = torch.from_numpy(generator.integers(FIRST_ITEM, num_items, SLATE))
    with inference(model) as device:
        for batch in requests:
            length = int(batch.history.lengths[0])
            now = batch.candidates.time[0]
            whole = _distribution(model, batch, slate, device)
            for rank in (2**power for power in range(length.bit_length())):
                place = length - rank
                less = _distribution(model, without(batch, place), slate, device)
                nats = float((whole.exp() * (whole - less)).sum())
                age = float((now - batch.history.time[place]) / 1000)
                found.append((rank, max(age, 0.0), max(nats, 0.0)))
    table = np.array(found).reshape(-1, 3)
    return Influence(table[:, 0].astype(np.int64), table[:, 1], table[:, 2])


def without(batch: Batch, place: int) -> Batch:
    """A batch of one row less one event of its history."""
    past, ahead = batch.history, batch.candidates
    keep = torch.arange(len(past.time)) != place
    features = {name: values[keep] for name, values in past.features.items()}
    history = History(features, past.time[keep], past.offsets - torch.tensor([0, 1]))
    return replace(batch, history=history, candidates=replace(ahead, prefix=ahead.prefix - 1))


def effective_length(found: Influence, longest: int) -> float | None:
    """(sum I)^2 / sum I^2 over ranks 1..longest: how many events do the work, were all alike.

    Ranks between those tried are read off a straight line over log rank.
    """
    ranks = np.unique(found.rank)
    if not len(ranks) or not found.nats.any():
        return None
    mean = np.array([found.nats[found.rank == rank].mean() for rank in ranks])
    at = np.arange(1, longest + 1)
    curve = np.interp(np.log2(at), np.log2(ranks), mean)
    return float(curve.sum() ** 2 / (curve**2).sum())


def _distribution(model: Ranker, batch: Batch, slate: Tensor, device: torch.device) -> Tensor:
    """[S] log-probabilities of the slate, a softmax over scores."""
    asked = catalogue.replace_candidates(_one(batch), slate)
    return model.score(asked.to(device)).float().cpu().log_softmax(0)


def _one(batch: Batch) -> Batch:
    first = torch.zeros(1, dtype=torch.int64)
    return catalogue.one_candidate_each(batch, first)
