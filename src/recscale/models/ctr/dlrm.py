"""DLRM: the dot product of every two fields, below a tower (Naumov et al. 2019)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from recscale.configfile import Settings
from recscale.models.counting import linear_flops
from recscale.models.ctr.pooled import Network, Pooled, Sizes
from recscale.models.settings import Count, Fraction, Layers
from recscale.models.tower import HIDDEN, tower
from recscale.types import Catalogue, Schema


class DLRMConfig(Settings):
    """One tower; the widths of figure 1's bottom tower are those of the fields here."""

    name: Literal["dlrm"] = "dlrm"
    width: Count = 32
    hidden: Layers = HIDDEN
    dropout: Fraction = 0.1
    negatives: Count = 8  # a positive, in a log without exposures


class Dots(Network):
    """The tower reads the products of pairs of fields, and the sum of all of them.

    The paper hands up its dense features beside the products; numbers are fields of their own
    here, so what stands in their place is the sum.
    """

    pairs: Tensor

    def __init__(self, config: DLRMConfig, sizes: Sizes) -> None:
        super().__init__()
        self.width = sizes.width
        self.fields = sizes.inputs // sizes.width
        pairs = torch.tril_indices(self.fields, self.fields, offset=-1)
        self.register_buffer("pairs", pairs[0] * self.fields + pairs[1], persistent=False)
        self.deep = tower(len(self.pairs) + self.width, config.hidden, config.dropout)
        self.output = nn.Linear(config.hidden[-1], 1)

    def forward(self, own: Tensor, shared: Tensor, row: Tensor) -> Tensor:
        """own [N, I], shared [B, S], row [N] -> [N]."""
        fields = torch.cat([own, shared.index_select(0, row)], dim=1)
        fields = fields.view(-1, self.fields, self.width)
        products = (fields @ fields.mT).flatten(1).index_select(1, self.pairs)
        return self.output(self.deep(torch.cat([fields.sum(1), products], dim=1)))[:, 0]

    def flops(self, candidates: int) -> int:
        """One request."""
        products = 2 * candidates * self.fields * self.fields * self.width
        above = linear_flops(self.deep, candidates) + linear_flops(self.output, candidates)
        return products + above


class DLRM(Pooled):
    """Dots over the fields."""

    def __init__(self, config: DLRMConfig, schema: Schema, catalogue: Catalogue) -> None:
        super().__init__(config.width, config.negatives, schema, catalogue)
        self.network = Dots(config, self.sizes)
