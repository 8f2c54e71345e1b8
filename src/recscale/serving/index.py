"""The best of the whole catalogue for a query: exact, or by an index where that is too slow."""

from __future__ import annotations

from typing import Protocol

import faiss
import numpy as np
import torch
from torch import Tensor

from recscale.types import UNSEEN

FIRST = UNSEEN + 1  # PADDING and UNSEEN are never recommended
CHUNK = 2**16  # items at once: with 64 numbers each 16 MB, and no [B, V] of scores
EXACT = 1_000_000  # items up to which a query takes tens of milliseconds on one core
PROBES = 32  # cells of the index that a query looks into
QUERIES = 64  # by which recall is measured
RECALL_AT = 100


class Index(Protocol):
    """Item vectors, ready to be searched by inner product."""

    recall: float  # of the first hundred against the exact answer

    def search(self, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """queries [B, D] -> scores [B, count] and item ids [B, count], best first."""
        ...


def build(vectors: Tensor) -> Index:
    """vectors [V, D] by item id -> exact up to a million items."""
    return Exact(vectors) if len(vectors) <= EXACT else Approximate(vectors)


class Exact:
    """Every item against every query, a chunk of items at a time."""

    recall = 1.0

    def __init__(self, vectors: Tensor) -> None:
        self.vectors = vectors

    def search(self, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """See Index."""
        best = queries.new_zeros(len(queries), 0)
        items = best.long()
        for start in range(FIRST, len(self.vectors), CHUNK):
            scores = queries @ self.vectors[start : start + CHUNK].T
            value, place = scores.topk(min(count, scores.shape[1]))
            best, items = torch.cat([best, value], 1), torch.cat([items, place + start], 1)
            best, order = best.topk(min(count, best.shape[1]))
            items = items.gather(1, order)
        return best, items


class Approximate:
    """Cells around centroids (faiss IVF): only the cells nearest to a query are looked into."""

    def __init__(self, vectors: Tensor, probes: int = PROBES) -> None:
        table = np.ascontiguousarray(vectors[FIRST:].numpy())
        count, width = table.shape
        cells = max(1, int(2 * count**0.5))
        self.cells = faiss.IndexFlatIP(width)
        self.index = faiss.IndexIVFFlat(self.cells, width, cells, faiss.METRIC_INNER_PRODUCT)
        generator = np.random.default_rng(0)
        sample = generator.choice(count, min(count, 40 * cells), replace=False)
        self.index.train(table[sample])
        self.index.add(table)
        self.index.nprobe = min(probes, cells)
        self.recall = self._recall(vectors, generator)

    def search(self, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """See Index. A place that the cells could not fill has score -inf and the first item."""
        scores, place = self.index.search(np.ascontiguousarray(queries.numpy()), count)
        scores = np.where(place < 0, -np.inf, scores)
        return torch.from_numpy(scores), torch.from_numpy(place.clip(min=0) + FIRST)

    def _recall(self, vectors: Tensor, generator: np.random.Generator) -> float:
        """Means of a few items stand for users, whose queries are not known yet."""
        some = generator.integers(FIRST, len(vectors), (QUERIES, 4))
        queries = vectors[torch.from_numpy(some)].mean(1)
        count = min(RECALL_AT, len(vectors) - FIRST)
        exact, found = Exact(vectors).search(queries, count)[1], self.search(queries, count)[1]
        pairs = zip(exact.tolist(), found.tolist(), strict=True)
        return float(np.mean([len(set(a) & set(b)) / count for a, b in pairs]))
