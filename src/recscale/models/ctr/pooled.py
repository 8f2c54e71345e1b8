"""What models over fields share: the fields, with the history pooled into two of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recscale.models import jagged
from recscale.models.clock import Gap
from recscale.models.counting import cost
from recscale.models.ctr.clicks import click_loss
from recscale.models.fields import Fields
from recscale.models.items import Items
from recscale.types import Batch, Catalogue, Cost, History, Schema


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many numbers the fields of each kind are."""

    width: int  # of one field
    items: int  # of the item's fields, which come first
    own: int  # of a candidate's fields
    shared: int  # of the user's fields

    @property
    def inputs(self) -> int:
        """All of them."""
        return self.own + self.shared


class Network(nn.Module, ABC):
    """What tells such models apart: own [N, I], shared [B, S], row [N] -> [N] logits.

    Candidate n has the inputs [own[n], shared[row[n]]].
    """

    @abstractmethod
    def flops(self, candidates: int) -> int:
        """One request; what its candidates share is worked out once where it can be."""


class Pooled(nn.Module):
    """Click model over item, user and request features, the mean of the history and its end.

    The fields of a candidate are its item's, its request's, two of the history and the gap; those
    of the user are shared by a row.
    """

    network: Network

    def __init__(self, width: int, negatives: int, schema: Schema, catalogue: Catalogue) -> None:
        super().__init__()
        self.negatives = negatives
        self.schema = schema
        self.items = Items(schema, catalogue, width)
        self.event = Fields(schema.context + schema.event, width)
        self.user = Fields(schema.user, width)
        self.context = Fields(schema.context, width)
        self.gap = Gap(width)
        self.start = nn.Parameter(torch.randn(2, width) * 0.02)  # mean and end of no history
        items = self.items.count * width
        own = items + (self.context.count + 3) * width
        self.sizes = Sizes(width, items, own, self.user.count * width)

    def score(self, batch: Batch) -> Tensor:
        """[N] logits."""
        return self.answer(self.events(batch.history), batch)

    def events(self, history: History) -> Tensor:
        """[T, D], each event alone: what can be kept of it between requests."""
        events = self.items(history.features["item"])
        return events + self.event(history.features, len(events)).sum(1)

    def answer(self, events: Tensor, batch: Batch) -> Tensor:
        """events [T, D] -> [N] logits; of the history itself clocks and items are read."""
        ahead = batch.candidates
        row = jagged.owner(ahead.offsets)
        fields = [
            self.items.parts(ahead.features["item"]),
            self.context(ahead.features, len(row)),
            self._history(events, batch, row),
            self.gap(batch, row)[:, None],
        ]
        user = self.user(batch.user, len(batch.history.lengths)).flatten(1)
        return self.network(torch.cat(fields, dim=1).flatten(1), user, row)

    def loss(self, batch: Batch) -> Tensor:
        """See click_loss."""
        return click_loss(self.score, batch, self.schema, self.negatives)

    def cost(self, history: int, candidates: int) -> Cost:  # noqa: ARG002
        """Every candidate passes the network once; pooling the history takes no product."""
        return cost(self, self.network.flops(candidates))

    def _history(self, events: Tensor, batch: Batch, row: Tensor) -> Tensor:
        """[N, 2, D], the mean of each candidate's visible events and the last of them."""
        past = batch.history
        both = torch.stack([jagged.running_mean(events, past.offsets), events], dim=1)
        return jagged.newest(both, self.start, past.offsets, row, batch.candidates.prefix)
