"""How much the order of events has to teach, without a model: all of it blind to item names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]
LIST = 10  # successors that may be named
LONGEST = 500  # newest events of a user whose entropy is estimated
SAMPLE_EVENTS = 200_000  # whole users from the front make up this many


def entropy_rate_bits(items: Ints, lengths: Ints) -> float | None:
    """[T] user by user, oldest first, [U] -> bits an event, its own past known; None if unknown.

    Lempel-Ziv: n log2(n) over the sum, over all events, of the length of the shortest run that
    begins there and that the past does not hold (Kontoyiannis et al. 1998; Song et al. 2010,
    Science 327:1018, supplement). Only equality of items enters. A mean over users
    with two events or more, weighted by their events; of long users the newest events are read.
    """
    total, events = 0.0, 0
    for stop, length in zip(np.cumsum(lengths), lengths, strict=True):
        if length < 2:
            continue
        own = items[stop - min(length, LONGEST) : stop]
        total += len(own) * _rate(own)
        events += len(own)
        if events >= SAMPLE_EVENTS:
            break
    return total / events if events else None


def _rate(items: Ints) -> float:
    """[n] items of one user -> bits an event."""
    codes = np.unique(items, return_inverse=True)[1]
    # As text, whose search is compiled: one character an item, below the surrogates.
    text = "".join(map(chr, codes.tolist()))
    n, length, total = len(text), 0, 0
    for start in range(n):
        # The run that starts one later is at most one shorter: the search goes on from there.
        length = max(length - 1, 0)
        while start + length < n and text[start : start + length + 1] in text[:start]:
            length += 1
        total += length + 1
    return n * float(np.log2(n)) / total


@dataclass(frozen=True, slots=True)
class Successors:
    """How often one of the ten likeliest successors comes next: in order, and shuffled."""

    ordered: float
    shuffled: float

    @property
    def order_sensitivity(self) -> float:
        """The share of what can be predicted that is lost with the order inside each user."""
        return 1 - self.shuffled / self.ordered if self.ordered else 0.0


def successors(items: Ints, lengths: Ints, generator: np.random.Generator) -> Successors | None:
    """[T] user by user, oldest first, [U]; learned from every other user, tested on the rest.

    None where one of the halves has no event that follows another.
    """
    ordered = _hits(items, lengths)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    shuffled = _hits(items[np.lexsort((generator.random(len(items)), owner))], lengths)
    if ordered is None or shuffled is None:
        return None
    return Successors(ordered, shuffled)


def _hits(items: Ints, lengths: Ints) -> float | None:
    """The share of the second half's steps that the first half's ten likeliest successors name.

    Where equally likely successors compete for the last places, each counts by its chance.
    """
    owner = np.repeat(np.arange(len(lengths)), lengths)
    codes = np.unique(items, return_inverse=True)[1].astype(np.int64)
    step = owner[1:] == owner[:-1]
    pair = codes[:-1] * (codes.max(initial=0) + 1) + codes[1:]
    learned, asked = pair[step & (owner[1:] % 2 == 0)], pair[step & (owner[1:] % 2 == 1)]
    if not learned.size or not asked.size:
        return None
    known, count = np.unique(learned, return_counts=True)
    credit = _credit(known // (codes.max() + 1), count)
    place = np.searchsorted(known, asked).clip(max=len(known) - 1)
    return float(np.where(known[place] == asked, credit[place], 0.0).mean())


def _credit(first: Ints, count: Ints) -> NDArray[np.float64]:
    """[P] pairs by their first item -> the chance of each to be among its ten likeliest."""
    order = np.lexsort((-count, first))
    first, count = first[order], count[order]
    group = np.flatnonzero(np.r_[True, np.diff(first) != 0])
    tie = np.flatnonzero(np.r_[True, (np.diff(first) != 0) | (np.diff(count) != 0)])
    ties = np.diff(np.r_[tie, len(first)])
    above = tie - group[np.searchsorted(group, tie, side="right") - 1]
    share = np.clip((LIST - above) / ties, 0.0, 1.0)
    credit = np.empty(len(first))
    credit[order] = np.repeat(share, ties)
    return credit
