"""How much a log has to teach: concentration and order, each a number without a model."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLE_EVENTS = 200_000  # zlib is slow; whole users from the front make up this many


def gini(counts: NDArray[np.int64]) -> float:
    """[V] events of each item -> 0 where all are equally popular, near 1 where one has them all."""
    ordered = np.sort(counts).astype(np.float64)
    rank = np.arange(1, len(ordered) + 1)
    return float((2 * rank - len(ordered) - 1) @ ordered / (len(ordered) * ordered.sum()))


def entropy_bits(counts: NDArray[np.int64]) -> float:
    """[V] events of each item -> bits needed per event by who knows popularity alone."""
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum()) + 0.0  # no negative zero


def head_share(counts: NDArray[np.int64]) -> float:
    """[V] events of each item -> the share of events on the most popular hundredth of items."""
    head = max(1, len(counts) // 100)
    return float(np.sort(counts)[-head:].sum() / counts.sum())


@dataclass(frozen=True, slots=True)
class Compression:
    """Compressed over raw size of item sequences, as they are and with all events shuffled."""

    ordered: float
    shuffled: float

    @property
    def order_gain(self) -> float:
        """What order and owner are worth: 0 where events could as well be dealt at random."""
        return 1 - self.ordered / self.shuffled


def compression(items: NDArray[np.integer], generator: np.random.Generator) -> Compression:
    """[T] item codes, user by user, oldest first: how well zlib packs the first of them."""
    head = items[:SAMPLE_EVENTS]
    sample = np.unique(head, return_inverse=True)[1].astype("<u4")  # free of the file's own ids
    return Compression(_packed(sample), _packed(generator.permutation(sample)))


def _packed(codes: NDArray[np.unsignedinteger]) -> float:
    raw = codes.tobytes()
    return len(zlib.compress(raw, 6)) / len(raw)
