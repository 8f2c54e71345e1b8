"""The clockwork of the synthetic log: all users of a block take their next step together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

START_MS = 1_700_000_000_000  # 14 November 2023, an arbitrary day zero
EVENTS_PER_SESSION = 8
ABSENCE_SPREAD = 2.0  # standard deviation of the logarithm: people are back soon, or very late
FLOAT = np.float32  # of rates and ages only; time itself stays int64


@dataclass(frozen=True, slots=True)
class World:
    """What all users share. V items, C categories; items lie category by category."""

    item_ids: NDArray[np.int32]  # [V] the public id of each position
    item_category: NDArray[np.int32]  # [V]
    quality: NDArray[np.float32]  # [V] logit that an item adds to its own clicks
    popularity: NDArray[np.float64]  # [V + 1] running sum of weights, from 0
    category_end: NDArray[np.int64]  # [C] one past the last position
    half_life_seconds: NDArray[np.float64]  # [C]
    bias: float  # logit of a click at no affinity
    boost: float  # of affinity, for each doubling of 1 + live clicks
    scale: float = 3.0
    focus: float = 2.5  # how closely exposures follow affinity


@dataclass(frozen=True, slots=True)
class Session:
    """When users come back: a few sessions over the window, a minute or so between exposures."""

    window_seconds: float
    mean_events: int


@dataclass(frozen=True, slots=True)
class Exposures:
    """U users, T exposures end to end, user by user, oldest first."""

    lengths: NDArray[np.int64]  # [U]
    taste: NDArray[np.float32]  # [U, C]
    time: NDArray[np.int64]  # [T] milliseconds
    item: NDArray[np.int32]  # [T]
    click: NDArray[np.int8]  # [T]
    probability: NDArray[np.float32]  # [T] of a click, before it was drawn


def calibrated(world: World, rate: float, sessions: Session, seed: list[int]) -> World:
    """`world` with the bias at which a pilot of 100 users clicks at `rate`.

    Every trial replays the same random draws, so more bias means more clicks and halving finds it.
    """
    low, high = -12.0, 6.0
    for _ in range(9):
        trial = replace(world, bias=(low + high) / 2)
        clicks = simulate(trial, 100, sessions, np.random.default_rng(seed)).click.mean()
        low, high = (trial.bias, high) if clicks < rate else (low, trial.bias)
    return replace(world, bias=(low + high) / 2)


def simulate(world: World, users: int, sessions: Session, rng: np.random.Generator) -> Exposures:
    """Exposures of one block, stepped longest first, so that users still active lie in front."""
    lengths = np.sort(_lengths(users, sessions.mean_events, rng))[::-1]
    taste = _tastes(users, len(world.half_life_seconds), rng)
    start = np.append(0, np.cumsum(lengths))
    time = _times(lengths, sessions, rng)
    item = np.empty(start[-1], np.int32)
    click = np.empty(start[-1], np.int8)
    probability = np.empty(start[-1], FLOAT)
    interest = np.zeros_like(taste)
    clock = time[start[:-1]]
    still_active = users - np.searchsorted(lengths[::-1], np.arange(lengths[0]), side="right")
    for step, active in enumerate(still_active):
        here = start[:active] + step
        elapsed = (time[here] - clock[:active]).astype(FLOAT) / FLOAT(1000)
        clock[:active] = time[here]
        _forget(interest[:active], elapsed, world)
        shown, category, odds = _expose(taste[:active], interest[:active], world, rng)
        acted = rng.random(active, FLOAT) < odds
        interest[np.flatnonzero(acted), category[acted]] += 1
        item[here], click[here], probability[here] = world.item_ids[shown], acted, odds
    # Longest first was for speed only: user ids must not tell how active a user is.
    return _shuffled(Exposures(lengths, taste, time, item, click, probability), rng)


def _forget(interest: NDArray[np.float32], elapsed: NDArray[np.float32], world: World) -> None:
    """Let the clicks of each user fade by `elapsed` seconds, in place: [U, C]."""
    rate = (-1 / world.half_life_seconds).astype(FLOAT)
    interest *= np.exp2(elapsed[:, None] * rate)


def _expose(
    taste: NDArray[np.float32],
    interest: NDArray[np.float32],
    world: World,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """[U] item positions shown, their categories, and the probability that each is clicked."""
    rows = np.arange(len(taste))
    affinity = np.log2(1 + interest)
    affinity *= FLOAT(world.boost)
    affinity += taste
    mass = np.diff(world.popularity[world.category_end], prepend=0)
    weight = np.exp(affinity * FLOAT(world.focus))
    weight *= np.sqrt(mass).astype(FLOAT)
    running = np.cumsum(weight, axis=1)
    total = running[:, -1]
    # rounding must not reach the total: the last category may have no items
    drawn = np.minimum(rng.random(len(taste), FLOAT) * total, np.nextafter(total, FLOAT(0)))
    category = (running <= drawn[:, None]).sum(axis=1)
    shown = _popular(category, world, rng.random(len(taste)))
    logit = FLOAT(world.bias) + FLOAT(world.scale) * affinity[rows, category] + world.quality[shown]
    return shown, category, (1 / (1 + np.exp(-logit))).astype(FLOAT)


def _popular(
    category: NDArray[np.int64], world: World, uniform: NDArray[np.float64]
) -> NDArray[np.int64]:
    """[U] one item position of each category, by popularity: the inverse of its running sum."""
    high = world.popularity[world.category_end]
    low = np.append(0.0, high[:-1])
    point = low[category] + uniform * (high - low)[category]
    found = np.searchsorted(world.popularity, point, side="right") - 1
    first = np.append(0, world.category_end[:-1])
    return np.clip(found, first[category], world.category_end[category] - 1)


def _lengths(users: int, mean: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """[U] exposures of each user: log-normal, a few are several times as active as most."""
    drawn = rng.lognormal(-0.5 * 0.7**2, 0.7, users) * mean
    return np.clip(np.rint(drawn), 1, 6 * mean).astype(np.int64)


def _tastes(users: int, categories: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """[U, C] shares that sum to one, most of each user's in a few categories."""
    drawn = rng.standard_gamma(0.3, (users, categories)) + 1e-6
    return (drawn / drawn.sum(axis=1, keepdims=True)).astype(FLOAT)


def _times(
    lengths: NDArray[np.int64], sessions: Session, rng: np.random.Generator
) -> NDArray[np.int64]:
    """[T] milliseconds, rising within each user."""
    total = int(lengths.sum())
    visits = np.maximum(1.0, lengths / EVENTS_PER_SESSION)
    # Minutes to weeks: an age that no pair of events has would hide a half-life of that length.
    absence = rng.lognormal(-0.5 * ABSENCE_SPREAD**2, ABSENCE_SPREAD, total).astype(FLOAT)
    absence *= np.repeat(0.8 * sessions.window_seconds / visits, lengths).astype(FLOAT)
    between = rng.lognormal(np.log(45), 1.0, total).astype(FLOAT)
    gap = np.where(rng.random(total, FLOAT) < 1 / EVENTS_PER_SESSION, absence, between)
    first = np.append(0, np.cumsum(lengths)[:-1])
    gap[first] = 0
    # Long absences would carry a few users far past the window, and a late cut would be theirs.
    span = np.add.reduceat(gap, first, dtype=np.float64)
    shrink = np.minimum(1, 0.8 * sessions.window_seconds / np.maximum(span, 1))
    gap *= np.repeat(shrink, lengths).astype(FLOAT)
    gap[first] = rng.random(len(lengths)) * 0.2 * sessions.window_seconds
    milliseconds = np.cumsum((gap * 1000).astype(np.int64))
    before = np.append(0, milliseconds[first[1:] - 1])
    return START_MS + milliseconds - np.repeat(before, lengths)


def _shuffled(made: Exposures, rng: np.random.Generator) -> Exposures:
    """The same exposures with users in random order."""
    order = rng.permutation(len(made.lengths))
    start = np.append(0, np.cumsum(made.lengths)[:-1])
    lengths = made.lengths[order]
    shift = start[order] - np.append(0, np.cumsum(lengths)[:-1])
    rows = np.arange(len(made.time)) + np.repeat(shift, lengths)
    return Exposures(
        lengths,
        made.taste[order],
        made.time[rows],
        made.item[rows],
        made.click[rows],
        made.probability[rows],
    )
