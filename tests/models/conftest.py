"""A tiny world with every kind of feature, and batches of it spelled out row by row."""

from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from recscale.types import Batch, Candidates, Catalogue, Feature, History, Lists, Schema

V = 40
MOMENT = 1_700_000_000_000  # float32 is 131 s apart here


def offsets(lengths: list[int]) -> Tensor:
    return F.pad(torch.tensor(lengths, dtype=torch.int64).cumsum(0), (1, 0))


@dataclass(frozen=True)
class World:
    schema: Schema
    catalogue: Catalogue

    def batch(self, lengths: list[int], prefixes: list[list[int]], seed: int = 0) -> Batch:
        """One row a user: so many past events, and candidates that see so many of them."""
        g = torch.Generator().manual_seed(seed)
        events, ahead = sum(lengths), sum(map(len, prefixes))
        time = MOMENT + torch.randint(0, 10**9, (events,), generator=g)
        time = torch.cat([part.sort().values for part in time.split(lengths)])
        label = torch.ones(ahead)
        if self.schema.exposures:
            label = (torch.arange(ahead) % 2).float()
        return Batch(
            user={
                "country": ids(4, len(lengths), g),
                "age": torch.randn(len(lengths), generator=g),
            },
            history=History(
                features={
                    "item": ids(V, events, g),
                    "hour": ids(26, events, g),
                    "action": ids(4, events, g),
                    "rating": torch.randn(events, generator=g),
                },
                time=time,
                offsets=offsets(lengths),
            ),
            candidates=Candidates(
                features={"item": ids(V, ahead, g), "hour": ids(26, ahead, g)},
                time=MOMENT + torch.randint(10**9, 10**10, (ahead,), generator=g),
                prefix=torch.tensor([p for row in prefixes for p in row], dtype=torch.int64),
                labels={"click": label},
                offsets=offsets([len(row) for row in prefixes]),
            ),
        )


def ids(size: int, count: int, generator: torch.Generator) -> Tensor:
    return torch.randint(2, size, (count,), generator=generator)


def row(batch: Batch, b: int) -> Batch:
    """One row of a batch on its own."""
    past, ahead = batch.history, batch.candidates
    h = slice(*past.offsets[b : b + 2].tolist())
    c = slice(*ahead.offsets[b : b + 2].tolist())
    return Batch(
        user={name: values[b : b + 1] for name, values in batch.user.items()},
        history=History(
            {name: values[h] for name, values in past.features.items()},
            past.time[h],
            offsets([h.stop - h.start]),
        ),
        candidates=Candidates(
            {name: values[c] for name, values in ahead.features.items()},
            ahead.time[c],
            ahead.prefix[c],
            {name: values[c] for name, values in ahead.labels.items()},
            offsets([c.stop - c.start]),
        ),
    )


def shuffled(batch: Batch, order: Tensor) -> Batch:
    """The candidates of a batch of one row, in another order."""
    ahead = batch.candidates
    return replace(
        batch,
        candidates=Candidates(
            {name: values[order] for name, values in ahead.features.items()},
            ahead.time[order],
            ahead.prefix[order],
            {name: values[order] for name, values in ahead.labels.items()},
            ahead.offsets,
        ),
    )


def make_world(exposures: bool) -> World:
    g = torch.Generator().manual_seed(7)
    lengths = torch.randint(0, 3, (V,), generator=g)
    lengths[:2] = 0
    tags = Lists(ids(7, int(lengths.sum()), g), offsets(lengths.tolist()))
    single = {"kind": torch.randint(2, 5, (V,), generator=g), "price": torch.randn(V, generator=g)}
    single["kind"][:2] = 0
    schema = Schema(
        item=(
            Feature("item", "categorical", V),
            Feature("kind", "categorical", 5),
            Feature("price", "numeric", 1),
            Feature("tags", "multi", 7),
        ),
        user=(Feature("country", "categorical", 4), Feature("age", "numeric", 1)),
        context=(Feature("hour", "categorical", 26),),
        event=(Feature("action", "categorical", 4), Feature("rating", "numeric", 1)),
        labels=("click",),
        exposures=exposures,
        history=16,
    )
    popularity = torch.randint(0, 90, (V,), generator=g)
    return World(schema, Catalogue(single, {"tags": tags}, popularity))


@pytest.fixture(params=[True, False], ids=["exposures", "positives"])
def world(request: pytest.FixtureRequest) -> World:
    return make_world(request.param)


@pytest.fixture
def one_row():
    return row


@pytest.fixture
def reorder():
    return shuffled
