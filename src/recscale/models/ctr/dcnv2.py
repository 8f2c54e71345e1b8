"""DCN V2: explicit feature crosses beside or below a deep tower (Wang et al. 2021)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from recscale.configfile import Settings
from recscale.models.counting import linear_flops
from recscale.models.ctr.pooled import Network, Pooled, Sizes
from recscale.models.settings import Count, Fraction, Layers
from recscale.models.tower import HIDDEN, first_layer, linear, tower, tower_flops
from recscale.types import Catalogue, Schema


class DCNv2Config(Settings):
    """Crosses below the tower (stacked) or beside it (parallel): figure 1 of the paper."""

    name: Literal["dcnv2"] = "dcnv2"
    structure: Literal["stacked", "parallel"] = "stacked"
    width: Count = 32
    crosses: Count = 2
    hidden: Layers = HIDDEN
    dropout: Fraction = 0.1
    negatives: Count = 8  # a positive, in a log without exposures


class Crosses(nn.Module):
    """x_{l+1} = x_0 * (W_l x_l + b_l) + x_l (eq. 1)."""

    def __init__(self, inputs: int, count: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.layers = nn.ModuleList(nn.Linear(inputs, inputs) for _ in range(count))

    def forward(self, own: Tensor, shared: Tensor, row: Tensor) -> Tensor:
        """own [N, I], shared [B, S], row [N] -> [N, I + S]."""
        first = torch.cat([own, shared.index_select(0, row)], dim=1)
        head, *rest = self.layers
        assert isinstance(head, nn.Linear)
        x = torch.addcmul(first, first, linear(head, own, shared, row))
        for layer in rest:
            x = torch.addcmul(x, first, layer(x))
        return x

    def flops(self, shared: int, candidates: int) -> int:
        """What a row shares passes the first layer once."""
        saved = 2 * (candidates - 1) * shared * self.inputs
        return linear_flops(self, candidates) - saved


class Stacked(Network):
    """The tower reads the crosses."""

    def __init__(self, config: DCNv2Config, sizes: Sizes) -> None:
        super().__init__()
        self.shared = sizes.shared
        self.crosses = Crosses(sizes.inputs, config.crosses)
        self.deep = tower(sizes.inputs, config.hidden, config.dropout)
        self.output = nn.Linear(config.hidden[-1], 1)

    def forward(self, own: Tensor, shared: Tensor, row: Tensor) -> Tensor:
        """own [N, I], shared [B, S], row [N] -> [N]."""
        return self.output(self.deep(self.crosses(own, shared, row)))[:, 0]

    def flops(self, candidates: int) -> int:
        """One request."""
        above = linear_flops(self.deep, candidates) + linear_flops(self.output, candidates)
        return self.crosses.flops(self.shared, candidates) + above


class Parallel(Network):
    """The tower and the crosses read the same features; the output reads both."""

    def __init__(self, config: DCNv2Config, sizes: Sizes) -> None:
        super().__init__()
        self.shared = sizes.shared
        self.crosses = Crosses(sizes.inputs, config.crosses)
        self.deep = tower(sizes.inputs, config.hidden, config.dropout)
        self.output = nn.Linear(sizes.inputs + config.hidden[-1], 1)

    def forward(self, own: Tensor, shared: Tensor, row: Tensor) -> Tensor:
        """own [N, I], shared [B, S], row [N] -> [N]."""
        crossed = self.crosses(own, shared, row)
        deep = self.deep[1:](first_layer(self.deep, own, shared, row))
        return self.output(torch.cat([crossed, deep], dim=1))[:, 0]

    def flops(self, candidates: int) -> int:
        """One request."""
        deep = tower_flops(self.deep, self.shared, candidates)
        return (
            self.crosses.flops(self.shared, candidates)
            + deep
            + linear_flops(self.output, candidates)
        )


class DCNv2(Pooled):
    """Crosses over the fields."""

    def __init__(self, config: DCNv2Config, schema: Schema, catalogue: Catalogue) -> None:
        super().__init__(config.width, config.negatives, schema, catalogue)
        match config.structure:
            case "stacked":
                self.network = Stacked(config, self.sizes)
            case "parallel":
                self.network = Parallel(config, self.sizes)
