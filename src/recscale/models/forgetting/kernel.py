"""What every kind of forgetting offers a model, and forgetting nothing at all.

A model asks twice. `traits` once a batch: all that is learned about how its events fade. `forward`
for any block of moments that look back on events: their weights, a function of its arguments alone,
so that attention may work block by block and work a block out again for its gradient, which reaches
the parameters through `traits`.

B rows, Q moments, L events, H heads, T events end to end.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from recscale.models import jagged
from recscale.types import Batch, History

SMALLEST = 1e-30  # of a weight: its logarithm stays finite, and so does its gradient


@dataclass(frozen=True, slots=True)
class Traits:
    """How the events of a batch fade: the one thing that gradients flow through.

    What the two tensors hold is up to the kind; a kind leaves empty what it does not need.
    """

    shared: Tensor  # curves or slopes, without a dimension of the batch
    own: Tensor  # of each event: [T, ...], or once padded [B, L, ...]

    def padded(self, where: jagged.Layout, chosen: Tensor | None = None) -> Traits:
        """[T, ...] -> [B, L, ...]: of all events, or of those chosen, in that order."""
        if self.own.dim() == 1 and not len(self.own):  # nothing is known of any event
            return self
        own = self.own if chosen is None else self.own[chosen]
        return Traits(self.shared, jagged.pad(own, where))

    def of(self, rows: Tensor) -> Traits:
        """Of chosen rows of the padded batch, in that order."""
        return Traits(self.shared, self.own[rows]) if self.own.numel() else self

    def chosen(self, cells: Tensor) -> Traits:
        """Of the padded events at `cells` [R, K], counted along the rows."""
        return Traits(self.shared, self.own.flatten(0, 1)[cells]) if self.own.numel() else self

    def first(self, events: int) -> Traits:
        """Of the first events of every padded row."""
        return Traits(self.shared, self.own[:, :events]) if self.own.numel() else self


class Forgetting(nn.Module, ABC):
    """Weight in (0, 1] of an event after some time; it multiplies, or its logarithm adds."""

    @abstractmethod
    def traits(self, history: History, content: Tensor) -> Traits:
        """Of the events of `history`; content [T, D]: as the model sees them."""

    @abstractmethod
    def forward(self, age: Tensor, seen: Tensor, traits: Traits) -> Tensor:
        """age [B, Q, L] seconds, seen [B, Q] events that had happened -> [B, H, Q, L].

        Dimensions of which nothing depends may be 1. Events yet to come mean nothing: mask them.
        """

    @property
    def by_clock(self) -> bool:
        """Whether the clocks of events are all that it reads of them."""
        return True

    def of_clocks(self, age: Tensor, seen: Tensor) -> Tensor:
        """age [n, L] seconds, seen [n], of one row -> [H or 1, n, L]; only where `by_clock`."""
        ends = torch.tensor([0, age.shape[1]], device=age.device)
        history = History({}, torch.zeros_like(age[0], dtype=torch.int64), ends)
        traits = self.traits(history, age.new_zeros(age.shape[1], 0))
        return self(age[None], seen[None], traits)[0]

    def penalty(self) -> Tensor | float:
        """What the prior adds to a loss that is a mean over events: []."""
        return 0.0

    def reads(self, batch: Batch) -> History:
        """The batch's history with all that `traits` wants to know of its events."""
        return batch.history

    def flops(self) -> int:
        """Products of matrices for one request, linear layers aside."""
        return 0


class NoForgetting(Forgetting):
    """The identity: a model with it is bit-identical to one that never heard of forgetting."""

    def traits(self, history: History, content: Tensor) -> Traits:  # noqa: ARG002
        """None."""
        return Traits(content.new_empty(0), content.new_empty(0))

    def forward(self, age: Tensor, seen: Tensor, traits: Traits) -> Tensor:  # noqa: ARG002
        """[1, 1, 1, 1], exactly one."""
        return age.new_ones(1, 1, 1, 1)


def with_user(batch: Batch, name: str) -> History:
    """The batch's history with the user feature `name` of each event's user."""
    history = batch.history
    own = batch.user[name][jagged.owner(history.offsets)]
    features: Mapping[str, Tensor] = {**history.features, name: own}
    return replace(history, features=features)
