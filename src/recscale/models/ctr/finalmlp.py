"""FinalMLP: two gated towers whose ends meet in a bilinear form (Mao et al. 2023).

Of the two candidates for a second field model, this and MaskNet, it is the one that leads LongCTR's
KuaiVideo and BARS's MovieLens and Frappe tables, and its towers share work within a row.
"""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn

from recscale.configfile import Settings
from recscale.models.counting import linear_flops
from recscale.models.ctr.pooled import Network, Pooled, Sizes
from recscale.models.settings import Count, Fraction, Layers
from recscale.models.tower import HIDDEN, first_layer, tower, tower_flops
from recscale.types import Catalogue, Schema


class FinalMLPConfig(Settings):
    """Two towers alike."""

    name: Literal["finalmlp"] = "finalmlp"
    width: Count = 32
    hidden: Layers = HIDDEN
    gate: Count = 32  # hidden width of the gates
    heads: Count = 2  # of the bilinear form
    dropout: Fraction = 0.1
    negatives: Count = 8  # a positive, in a log without exposures

    @model_validator(mode="after")
    def _heads_divide_the_towers(self) -> Self:
        if self.hidden[-1] % self.heads:
            raise ValueError(f"hidden {self.hidden[-1]} is not a multiple of heads {self.heads}")
        return self


class Gate(nn.Module):
    """2 sigmoid(net(given)): how much each input counts, 1 where the net says nothing."""

    def __init__(self, given: int, hidden: int, inputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(given, hidden)
        self.last = nn.Linear(hidden, inputs)

    def forward(self, given: Tensor) -> Tensor:
        """[R, given] -> [R, inputs] in (0, 2)."""
        return 2 * self.last(self.first(given).relu()).sigmoid()


class Bilinear(nn.Module):
    """b + w1 . x + w2 . y + the sum over heads of x_h W_h y_h, x and y cut into heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * width, 1)
        self.matrix = nn.Parameter(torch.randn(heads, width // heads, width // heads) / width)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """[N, D], [N, D] -> [N]."""
        heads = len(self.matrix)
        left = x.unflatten(1, (heads, -1)).transpose(0, 1) @ self.matrix  # [heads, N, D / heads]
        crossed = (left.transpose(0, 1).flatten(1) * y).sum(1)
        return self.linear(torch.cat([x, y], dim=1))[:, 0] + crossed


class TwoStreams(Network):
    """The first tower's inputs are gated by the user, the second one's by the item."""

    def __init__(self, config: FinalMLPConfig, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        # A log without user features gates the first tower by a learned vector alone.
        given = sizes.shared or sizes.width
        self.nobody = None if sizes.shared else nn.Parameter(torch.randn(1, sizes.width))
        self.by_user = Gate(given, config.gate, sizes.inputs)
        self.by_item = Gate(sizes.items, config.gate, sizes.inputs)
        self.first = tower(sizes.inputs, config.hidden, config.dropout)
        self.second = tower(sizes.inputs, config.hidden, config.dropout)
        self.meet = Bilinear(config.hidden[-1], config.heads)

    def forward(self, own: Tensor, shared: Tensor, row: Tensor) -> Tensor:
        """own [N, I], shared [B, S], row [N] -> [N]."""
        given = shared if self.nobody is None else self.nobody.expand(len(shared), -1)
        of_own, of_shared = self.by_user(given).split([self.sizes.own, self.sizes.shared], dim=1)
        first = first_layer(self.first, own * of_own[row], shared * of_shared, row)
        inputs = torch.cat([own, shared.index_select(0, row)], dim=1)
        gated = inputs * self.by_item(own[:, : self.sizes.items])  # the item's fields come first
        return self.meet(self.first[1:](first), self.second(gated))

    def flops(self, candidates: int) -> int:
        """The first tower's gate, and the user's part of its first layer, once."""
        heads, size, _ = self.meet.matrix.shape
        met = 2 * candidates * heads * size * size + linear_flops(self.meet, candidates)
        first = tower_flops(self.first, self.sizes.shared, candidates)
        second = linear_flops(self.second, candidates) + linear_flops(self.by_item, candidates)
        return linear_flops(self.by_user, 1) + first + second + met


class FinalMLP(Pooled):
    """Two streams over the fields."""

    def __init__(self, config: FinalMLPConfig, schema: Schema, catalogue: Catalogue) -> None:
        super().__init__(config.width, config.negatives, schema, catalogue)
        self.network = TwoStreams(config, self.sizes)
