"""How fast the users of a log forget: how long they take to come back to what they met.

A spell begins when a user acts on a key (an item's category, or the item where there are none) and
ends at the next time they do. One that the end of the log cuts off is censored, not left out: given
that a user does come back, every gap before looks short (Benson et al. 2016). S spells, M ages.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import CensoredData, ecdf

from recscale.evaluation.metrics import Bools, Floats, Ints
from recscale.features.store import Store

PER_OCTAVE = 4  # bins of age; a half-life is interpolated between their edges
RESAMPLES = 200


@dataclass(frozen=True, slots=True)
class Spells:
    """Waits of users for their own return."""

    user: Ints  # [S]
    group: Ints  # [S] whose curve they belong to
    begin: Ints  # [S] milliseconds
    seconds: Floats  # [S] until the return, or until the log ended
    returned: Bools  # [S]

    def of(self, chosen: Bools) -> Spells:
        """Some of them."""
        return Spells(
            self.user[chosen],
            self.group[chosen],
            self.begin[chosen],
            self.seconds[chosen],
            self.returned[chosen],
        )


@dataclass(frozen=True, slots=True)
class Groups:
    """What users return to, and by what curves are told apart."""

    name: str  # the item feature, or "item"
    key: Ints  # [V] of each item
    group: Ints  # [V] of each item; one for all where there is no feature


def groups(store: Store) -> Groups:
    """By the log's first categorical item feature; a list counts by its first id."""
    catalogue, items = store.catalogue(), np.arange(store.schema.num_items)
    for feature in store.schema.item[1:]:
        if feature.kind == "categorical":
            values = catalogue.single[feature.name].numpy()
            return Groups(feature.name, values, values)
        if feature.kind == "multi":
            lists = catalogue.multi[feature.name]
            first = np.r_[lists.values.numpy(), 0][lists.offsets.numpy()[:-1]]
            values = np.where(lists.offsets.diff().numpy() > 0, first, 0)
            return Groups(feature.name, values, values)
    return Groups("item", items, np.zeros_like(items))


def spells(user: Ints, key: Ints, group: Ints, time: Ints, end: int) -> Spells:
    """Of N events in any order, seen until `end`. Acts of one moment on one key are one act."""
    order = np.lexsort((time, key, user))
    user, key, group, time = user[order], key[order], group[order], time[order]
    same = (user[1:] == user[:-1]) & (key[1:] == key[:-1])
    distinct = np.append(True, ~(same & (time[1:] == time[:-1])))  # noqa: FBT003, a value
    user, key, group, time = user[distinct], key[distinct], group[distinct], time[distinct]
    returned = np.append((user[1:] == user[:-1]) & (key[1:] == key[:-1]), False)  # noqa: FBT003
    until = np.where(returned, np.append(time[1:], end), end)
    return Spells(user, group, time, np.maximum(until - time, 1) / 1000.0, returned)


def censored_at(found: Spells, moment: int) -> Spells:
    """What was known of the spells begun before `moment` when it came."""
    early = found.of(found.begin < moment)
    known = np.maximum(moment - early.begin, 1) / 1000.0
    returned = early.returned & (early.seconds <= known)
    return Spells(early.user, early.group, early.begin, np.minimum(early.seconds, known), returned)


def return_curve(found: Spells, ages: Floats) -> Floats:
    """[M] share that is not back yet at each age: Kaplan and Meier's estimate."""
    censored = CensoredData.right_censored(found.seconds, ~found.returned)
    return ecdf(censored).sf.evaluate(ages)


def edges(span_seconds: float) -> Floats:
    """[M + 1] ages from 0 to the span, PER_OCTAVE an octave from a second on."""
    octaves = np.ceil(np.log2(max(span_seconds, 2.0)) * PER_OCTAVE)
    return np.r_[0.0, np.exp2(np.arange(octaves + 1) / PER_OCTAVE)]


def half_life(ages: Floats, curve: Floats) -> float | None:
    """Age at which a curve has lost half of what it loses by the last age; None: it loses nothing.

    ages, curve [M]. Of what never fades the log cannot tell, so half of the loss, not of the whole.
    """
    level = (curve[0] + curve[-1]) / 2
    if curve[0] - curve[-1] < 1e-3:
        return None
    place = int(np.argmax(curve <= level))
    low, high = max(ages[max(place - 1, 0)], 1e-3), ages[place]
    before, after = curve[max(place - 1, 0)], curve[place]
    share = 1.0 if before == after else (before - level) / (before - after)
    return float(np.exp(np.log(low) + share * (np.log(high) - np.log(low))))


def half_life_interval(
    found: Spells, limits: Floats, generator: np.random.Generator
) -> tuple[float, float] | None:
    """95 % of half-lives of the return curve over samples of users drawn with replacement."""
    user = np.unique(found.user, return_inverse=True)[1]
    place = np.searchsorted(limits, found.seconds, side="right") - 1
    place = place.clip(max=len(limits) - 2)
    drawn: list[float] = []
    for _ in range(RESAMPLES):
        count = generator.multinomial(user.max() + 1, np.full(user.max() + 1, 1 / (user.max() + 1)))
        curve = _binned(place, found.returned, count[user], len(limits) - 1)
        value = half_life(limits, curve)
        if value is not None:
            drawn.append(value)
    if len(drawn) < RESAMPLES // 2:
        return None
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def _binned(place: Ints, returned: Bools, weight: Ints, bins: int) -> Floats:
    """[bins + 1] the return curve at bin edges; ends of a bin come after its returns."""
    back = np.bincount(place[returned], weight[returned], bins)
    gone = np.bincount(place[~returned], weight[~returned], bins)
    at_risk = np.cumsum((back + gone)[::-1])[::-1]
    hazard = np.divide(back, at_risk, out=np.zeros(bins), where=at_risk > 0)
    return np.r_[1.0, np.cumprod(1 - hazard)]


def counts(found: Spells, limits: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """[M] returns and [M] censored spells between each two limits [M + 1]."""
    place = np.searchsorted(limits, found.seconds, side="right") - 1
    place, bins = place.clip(max=len(limits) - 2), len(limits) - 1
    back = np.bincount(place[found.returned], minlength=bins)
    return back, np.bincount(place[~found.returned], minlength=bins)
