"""One document on forgetting: the log's, the model's own, and how far they agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from recscale.evaluation import forgetting_log as log
from recscale.evaluation import forgetting_model as own
from recscale.evaluation.forgetting_families import fit_families
from recscale.evaluation.metrics import Bools, Floats
from recscale.features import requests as rows
from recscale.features.batches import assemble
from recscale.features.store import Store
from recscale.models.forgetting import AgeCurve
from recscale.types import Batch, Ranker

REQUESTS = 128  # whose clocks are moved and whose events are left out
MOST_GROUPS = 24  # of a category feature, most spells first
PLOTTED = 40  # ages of a plotted curve


def measure(model: Ranker, store: Store, history: int) -> dict[str, Any]:
    """Everything below `metrics.behaviour.forgetting` of a record; what is not defined is absent.

    Seconds throughout. The log is its training part: what a model could have learned from.
    """
    by = log.groups(store)
    found, span = _spells(store, by)
    limits = log.edges(span)
    sampled = _requests(store, history)
    generator = np.random.default_rng(int(store.digest[:15], 16))
    clock = own.by_clock(model, sampled, by, own.lags(span), generator)
    without = own.influence(model, sampled, store.schema.num_items, generator)
    document = {
        "by": by.name,
        "span_seconds": span,
        "log": _log(found, limits, generator),
        "families": _families(found, limits, store),
        "clock": _clock(clock),
        "calibration": _calibration(clock, store, by),
        "influence": _influence(without),
        "effective_history": own.effective_length(without, history),
        "kernel": _kernel(model, span),
    }
    return {name: value for name, value in document.items() if value not in (None, [], {})}


def _spells(store: Store, by: log.Groups) -> tuple[log.Spells, float]:
    ahead = store.candidates
    chosen = (ahead["part"] == 0) & (ahead[store.schema.label] > 0)
    place = np.flatnonzero(chosen)
    user = np.searchsorted(store.candidate_offsets, place, side="right") - 1
    item, time = ahead["item"][place], ahead["time"][place]
    known = item >= own.FIRST_ITEM
    end = int(time.max()) if len(time) else 0
    found = log.spells(user[known], by.key[item[known]], by.group[item[known]], time[known], end)
    return found, max(1.0, (end - int(time.min())) / 1000) if len(time) else 1.0


def _requests(store: Store, history: int) -> list[Batch]:
    """Held-out requests with a past, one row each."""
    asked = rows.evaluation_rows(store, "test", history, positive=True)
    some = np.flatnonzero(asked.stop > asked.start)
    generator = np.random.default_rng(int(store.digest[:15], 16))
    chosen = np.sort(generator.choice(some, min(REQUESTS, len(some)), replace=False))
    return [assemble(store, asked, chosen[k : k + 1]) for k in range(len(chosen))]


def _log(found: log.Spells, limits: Floats, generator: np.random.Generator) -> dict[str, Any]:
    if not found.returned.any():
        return {}
    return {
        "all": _returns(found, limits, generator),
        "groups": {
            str(g): _returns(found.of(found.group == g), limits, generator)
            for g in _largest(found)
            if found.returned[found.group == g].sum() >= 50
        },
    }


def _largest(found: log.Spells) -> list[int]:
    """Groups by their spells; none where there is only one."""
    kinds, sizes = np.unique(found.group, return_counts=True)
    if len(kinds) < 2:
        return []
    return [int(g) for g in kinds[np.argsort(-sizes, kind="stable")][:MOST_GROUPS]]


def _returns(found: log.Spells, limits: Floats, generator: np.random.Generator) -> dict[str, Any]:
    curve = log.return_curve(found, limits)
    half_life = log.half_life(limits, curve)
    told: dict[str, Any] = {
        "spells": len(found.user),
        "returned": int(found.returned.sum()),
        "curve": _plotted(limits, curve),
    }
    if half_life is not None:
        told["half_life"] = half_life
        interval = log.half_life_interval(found, limits, generator)
        if interval is not None:
            told["half_life_95"] = list(interval)
    return told


def _families(found: log.Spells, limits: Floats, store: Store) -> list[dict[str, Any]]:
    fits = fit_families(found, limits, store)
    return [
        {
            "family": fit.family,
            "held_out_nats": fit.held_out,
            **_present(half_life=log.half_life(limits, fit.curve)),
            "curve": _plotted(limits, fit.curve),
        }
        for fit in fits
    ]


def _clock(clock: own.Clock) -> dict[str, Any]:
    """The model's own curve: what is left of its boost as the clock moves on."""
    if not len(clock.boost):
        return {}
    mean = clock.boost.mean(0)
    spread = clock.boost.std(0) / max(1, len(clock.boost) - 1) ** 0.5
    told = {"lag": _list(clock.lag), "boost": _list(mean), "standard_error": _list(spread)}
    # A boost that ends higher than it began was not forgotten.
    falls = mean[0] - mean[-1] > 2 * np.hypot(spread[0], spread[-1])
    half_life = log.half_life(clock.lag, mean) if falls else None
    return {**told, "requests": len(clock.boost), **_present(half_life=half_life)}


def _calibration(clock: own.Clock, store: Store, by: log.Groups) -> dict[str, Any]:
    """Forgetting calibration error: model's boost against the log's, by lag, less their means.

    One factor of scale is fitted first, since scores are logits of another question in each model.
    """
    if not len(clock.boost):
        return {}
    true, weight = _empirical_boost(store, by, clock.lag)
    some = weight > 0
    if some.sum() < 3:
        return {}
    weight = weight[some] / weight[some].sum()
    true = true[some] - weight @ true[some]
    told = clock.boost.mean(0)[some]
    told = told - weight @ told
    power = weight @ told**2
    scale = max(0.0, float(weight @ (told * true) / power)) if power > 0 else 0.0
    return {
        "lag": _list(clock.lag[some]),
        "log": _list(true),
        "model": _list(scale * told),
        "scale": scale,
        "error": float(weight @ np.abs(scale * told - true)),
        "error_if_flat": float(weight @ np.abs(true)),
    }


def _empirical_boost(store: Store, by: log.Groups, lag: Floats) -> tuple[Floats, Floats]:
    """[G] log-odds that an act is of the last event's group, less what chance gives; [G] acts.

    With exposures: log-odds of a click on what is shown of that group, less those on other things.
    """
    ahead = store.candidates
    user = np.searchsorted(store.candidate_offsets, np.arange(len(ahead["item"])), side="right") - 1
    last = store.history_offsets[user] + ahead["prefix"] - 1
    known = (ahead["prefix"] > 0) & (ahead["part"] == 0) & (ahead["item"] >= own.FIRST_ITEM)
    last, item, time = last[known], ahead["item"][known], ahead["time"][known]
    before = store.history["item"][last]
    waited = np.maximum(time - store.history["time"][last], 0) / 1000
    same = by.key[item] == by.key[before]
    acted = ahead[store.schema.label][known] > 0
    middle = np.sqrt(lag[1:] * lag[:-1])
    place = np.searchsorted(middle, waited)
    if store.schema.exposures:
        return _odds(same, acted, place, len(lag))
    popularity = store.catalogue().popularity.numpy().astype(float)
    share = np.bincount(by.key, popularity) / popularity.sum()
    chance = np.bincount(place, share[by.key[before]], len(lag)).astype(float)
    return _lift(same, place, chance, len(lag))


def _lift(same: Bools, place: np.ndarray, chance: Floats, size: int) -> tuple[Floats, Floats]:
    weight = np.bincount(place, minlength=size).astype(float)
    seen = np.bincount(place, same, size)
    value = np.log((seen + 0.5) / (weight - seen + 0.5))
    return value - np.log((chance + 0.5) / (weight - chance + 0.5)), weight * (weight >= 50)


def _odds(same: Bools, acted: Bools, place: np.ndarray, size: int) -> tuple[Floats, Floats]:
    def odds(chosen: Bools) -> Floats:
        yes = np.bincount(place[chosen & acted], minlength=size)
        no = np.bincount(place[chosen & ~acted], minlength=size)
        return np.log((yes + 0.5) / (no + 0.5))

    weight = np.bincount(place[same], minlength=size).astype(float)
    return odds(same) - odds(~same), weight * (weight >= 50)


def _influence(found: own.Influence) -> dict[str, Any]:
    """Mean influence by rank, and by age in octaves of eight."""
    if not len(found.rank):
        return {}
    ranks = np.unique(found.rank)
    octave = np.floor(np.log2(np.maximum(found.age_seconds, 1)) / 3).astype(int)
    ages = np.unique(octave)
    return {
        "rank": ranks.tolist(),
        "nats_by_rank": [float(found.nats[found.rank == rank].mean()) for rank in ranks],
        "age": [float(2.0 ** (3 * k + 1.5)) for k in ages],
        "nats_by_age": [float(found.nats[octave == k].mean()) for k in ages],
    }


def _kernel(model: Ranker, span: float) -> dict[str, Any]:
    """The learned curve of each head, mean over heads by category; nothing without one over age."""
    assert isinstance(model, nn.Module)
    kernels = [part for part in model.modules() if isinstance(part, AgeCurve)]
    if not kernels:
        return {}
    kernel, ages = kernels[0], np.r_[0.0, np.geomspace(1, span, 400)]
    at = torch.from_numpy(ages).to(kernel.shape.device)
    with torch.no_grad():
        heads = kernel.curve(at)[0].cpu().numpy()
        mean = heads.mean(0)
        told: dict[str, Any] = {
            "heads": [_present(half_life=log.half_life(ages, head)) for head in heads],
            "curve": _plotted(ages, mean),
            "left_at_span": float(mean[-1]),
            **_present(half_life=log.half_life(ages, mean)),
        }
        if kernel.by_category is not None:
            every = torch.arange(len(kernel.by_category), device=at.device)
            curves = kernel.curve(at, every).mean(1).cpu().numpy()
            told["groups"] = {
                str(g): {
                    **_present(half_life=log.half_life(ages, curve)),
                    "left_at_span": float(curve[-1]),
                }
                for g, curve in enumerate(curves)
                if g >= own.FIRST_ITEM
            }
    return told


def _plotted(ages: Floats, curve: Floats) -> dict[str, list[float]]:
    chosen = np.unique(np.linspace(0, len(ages) - 1, PLOTTED).astype(int))
    return {"age": _list(ages[chosen]), "value": _list(curve[chosen])}


def _present(**values: float | None) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}


def _list(values: Sequence[float] | Floats) -> list[float]:
    return [float(value) for value in values]
