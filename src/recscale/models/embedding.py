"""Embedding tables: the one file that knows TorchRec.

TorchRec's modules keep the state names that its sharded versions read, so a checkpoint moves
between one device and many.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recscale.models import installed

installed.require()  # a mismatched pair crashes later, and obscurely

from torchrec import (  # noqa: E402
    EmbeddingBagCollection,
    EmbeddingBagConfig,
    EmbeddingCollection,
    EmbeddingConfig,
    KeyedJaggedTensor,
    PoolingType,
)

from recscale.types import Feature  # noqa: E402

# TorchRec asks torch.fx at every call whether it is being traced, and torch.fx warns of that.
logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)

ADAGRAD_EPS = 1e-8  # FBGEMM's own, said aloud: torch's is 1e-10, and sharding would change results
SPREAD = 0.02  # standard deviation at the start, as in BERT and SASRec
FEW = 4096  # rows of all tables together, up to which they are read as one


class Tables(nn.Module):
    """One table for each of F categorical features."""

    def __init__(self, features: Sequence[Feature], width: int) -> None:
        super().__init__()
        self.sizes = {feature.name: feature.size for feature in features}
        self.collection: nn.Module = EmbeddingCollection(  # sharded, where there are many devices
            tables=[
                EmbeddingConfig(
                    name=feature.name,
                    feature_names=[feature.name],
                    num_embeddings=feature.size,
                    embedding_dim=width,
                )
                for feature in features
            ]
        )
        self.journal: Journal | None = None  # where the tables are in shards
        for weight in self.parameters():
            nn.init.normal_(weight, std=SPREAD)

    def forward(self, ids: Tensor) -> Tensor:
        """[F, R] ids, in the order of the features -> [R, F, D]."""
        return self.look_up(ids) if self.journal is None else self.journal.read(self, ids)

    def look_up(self, ids: Tensor) -> Tensor:
        """As `forward`, at once."""
        num_rows = ids.shape[1]
        if not num_rows:  # TorchRec cannot tell the features of no rows apart
            return self.look_up(ids.new_zeros(len(self.sizes), 1))[:0]
        # Twenty small tables cost twenty times the calls of one, there and back.
        if isinstance(self.collection, EmbeddingCollection) and sum(self.sizes.values()) <= FEW:
            return self._as_one(ids)
        single = torch.arange(ids.numel() + 1, device=ids.device)
        keyed = KeyedJaggedTensor(
            keys=list(self.sizes),
            values=ids.flatten(),
            lengths=torch.ones_like(single[1:]),
            offsets=single,
            stride=num_rows,
            length_per_key=[num_rows] * len(self.sizes),
        )
        try:
            found = self.collection(keyed)
        except IndexError as error:
            raise ValueError(f"ids outside their vocabulary: {self._outside(ids)}") from error
        return torch.stack([found[name].values() for name in self.sizes], dim=1)

    def _as_one(self, ids: Tensor) -> Tensor:
        """[F, R] -> [R, F, D], out of the tables laid end to end."""
        sizes = ids.new_tensor(list(self.sizes.values()))[:, None]
        if bool(((ids < 0) | (ids >= sizes)).any()):
            raise ValueError(f"ids outside their vocabulary: {self._outside(ids)}")
        first = sizes.cumsum(0) - sizes
        return F.embedding((ids + first).T, torch.cat(list(self.parameters())))

    def _outside(self, ids: Tensor) -> str:
        bounds = zip(self.sizes.items(), ids.min(1).values, ids.max(1).values, strict=True)
        return ", ".join(
            f"{name} has {size}, got {int(low)} to {int(high)}"
            for (name, size), low, high in bounds
            if low < 0 or high >= size
        )


class Journal:
    """What one step read from shards, so that they move once for all of it.

    A sharded table is updated as soon as the backward pass reaches a look-up of it. Two look-ups
    in a step would be two steps of its optimiser, where one device takes one of their sum. So
    look-ups are cut out of the graph, and their gradients sent back together afterwards: always as
    many collectives, in one order, whatever a process had to read.
    """

    def __init__(self) -> None:
        self.reads: list[tuple[Tensor, Tensor]] = []  # ids [F, R], vectors [R, F, D]

    def read(self, tables: Tables, ids: Tensor) -> Tensor:
        """[F, R] -> [R, F, D]."""
        with torch.no_grad():
            found = tables.look_up(ids)
        if torch.is_grad_enabled():
            self.reads.append((ids, found.requires_grad_()))
        return found

    def update(self, tables: Tables) -> None:
        """Move the shards by the gradients of all that was read since the last time."""
        ids = [read for read, _ in self.reads]
        slopes = [torch.zeros_like(x) if x.grad is None else x.grad for _, x in self.reads]
        self.reads = []
        found = tables.look_up(torch.cat(ids, dim=1))
        found.backward(torch.cat(slopes))


class Bags(nn.Module):
    """One table for each of F list features; a list is the mean of its ids, an empty one is 0."""

    def __init__(self, features: Sequence[Feature], width: int) -> None:
        super().__init__()
        self.names = [feature.name for feature in features]
        self.collection = EmbeddingBagCollection(
            tables=[
                EmbeddingBagConfig(
                    name=feature.name,
                    feature_names=[feature.name],
                    num_embeddings=feature.size,
                    embedding_dim=width,
                    pooling=PoolingType.MEAN,
                )
                for feature in features
            ]
        )
        for weight in self.parameters():
            nn.init.normal_(weight, std=SPREAD)

    def forward(self, values: Tensor, offsets: Tensor) -> Tensor:
        """Lists of all rows for the first feature, then the next: offsets [F * R + 1] -> [R, F, D].

        The layout of TorchRec's KeyedJaggedTensor.
        """
        if len(offsets) == 1:  # as above: no rows
            return self(values, offsets.new_zeros(len(self.names) + 1))[:0]
        keyed = KeyedJaggedTensor(
            keys=self.names,
            values=values,
            offsets=offsets,
            lengths=offsets.diff(),
            stride=(len(offsets) - 1) // len(self.names),
        )
        pooled = self.collection(keyed).values()  # [R, F * D]
        return pooled.unflatten(1, (len(self.names), -1))


def split_weights(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The weights of `model` that are no table, and its tables; shards are neither."""
    tables = [
        weight
        for module in model.modules()
        if isinstance(module, EmbeddingCollection | EmbeddingBagCollection)
        for weight in module.parameters()
    ]
    known = {id(weight) for weight in tables}
    rest = [weight for weight in model.parameters() if id(weight) not in known]
    return [weight for weight in rest if not in_backward(weight)], tables


def in_backward(weight: nn.Parameter) -> bool:
    """Whether a weight is updated during the backward pass, as shards are."""
    return hasattr(weight, "_in_backward_optimizers")
