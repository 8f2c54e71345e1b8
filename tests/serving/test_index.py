"""The best of a catalogue."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from recscale.serving import index
from recscale.serving.index import Approximate, Exact


def vectors(count: int, seed: int = 0) -> torch.Tensor:
    """Items around some fifty tastes, as embeddings are."""
    generator = torch.Generator().manual_seed(seed)
    tastes = torch.randn(50, 16, generator=generator)
    own = 0.5 * torch.randn(count, 16, generator=generator)
    return F.normalize(tastes[torch.arange(count) % 50] + own, dim=-1)


@pytest.mark.parametrize("chunk", [7, 100, 10_000])
def test_chunks_of_any_size_find_what_one_sort_of_all_items_finds(chunk, monkeypatch):
    monkeypatch.setattr(index, "CHUNK", chunk)
    table, queries = vectors(500), vectors(3, seed=1)
    scores, items = Exact(table).search(queries, 20)
    expected = (queries @ table[2:].T).topk(20)
    assert (items == expected.indices + 2).all()
    torch.testing.assert_close(scores, expected.values)


def test_the_two_reserved_ids_are_never_found_and_a_short_catalogue_ends():
    table = vectors(6)
    table[:2] = 100.0
    _, items = Exact(table).search(vectors(1, seed=1), 10)
    assert sorted(items[0].tolist()) == [2, 3, 4, 5]


def test_an_index_of_cells_finds_nearly_all_and_knows_how_many():
    table, queries = vectors(20_000), vectors(32, seed=1)
    found = Approximate(table)
    exact = Exact(table).search(queries, 100)[1]
    items = found.search(queries, 100)[1]
    shares = [
        len(set(a) & set(b)) / 100 for a, b in zip(exact.tolist(), items.tolist(), strict=True)
    ]
    assert sum(shares) / 32 > 0.9
    assert found.recall > 0.9


def test_fewer_cells_recall_less_and_say_so():
    table = vectors(20_000)
    assert Approximate(table, probes=1).recall < Approximate(table).recall


def test_the_size_of_the_catalogue_decides(monkeypatch):
    monkeypatch.setattr(index, "EXACT", 1000)
    assert type(index.build(vectors(1000))) is Exact
    assert type(index.build(vectors(1001))) is Approximate
