"""A model that trains no more: what it works out of the catalogue is worked out once."""

from __future__ import annotations

from functools import cached_property

import torch.nn.functional as F
from torch import Tensor, nn

from recscale.models.items import Items


class FrozenItems(nn.Module):
    """`Items` with the same numbers and no look-ups: each table is made at its first use."""

    def __init__(self, items: Items) -> None:
        super().__init__()
        self.num_items = items.num_items
        self.count = items.count
        self.source = items

    def forward(self, ids: Tensor) -> Tensor:
        """[R] -> [R, D]."""
        return self._sum.index_select(0, ids)

    def parts(self, ids: Tensor) -> Tensor:
        """[R] -> [R, F, D]."""
        return self._parts.index_select(0, ids)

    def table(self) -> Tensor:
        """[V, D]."""
        return self._sum

    def unit(self, ids: Tensor) -> Tensor:
        """[R] -> [R, D], each of length 1."""
        return self._unit.index_select(0, ids)

    def unit_table(self) -> Tensor:
        """[V, D], each of length 1."""
        return self._unit

    @cached_property
    def _sum(self) -> Tensor:
        return self.source.table()

    @cached_property
    def _unit(self) -> Tensor:
        return F.normalize(self._sum, dim=-1)

    @cached_property
    def _parts(self) -> Tensor:
        return self.source.parts(self.source.ids[0])


def freeze(model: nn.Module) -> nn.Module:
    """`model` itself, in evaluation mode, its catalogue frozen; its weights must not change now."""
    for part in list(model.modules()):
        for name, child in list(part.named_children()):
            if isinstance(child, Items):
                setattr(part, name, FrozenItems(child))
    return model.eval().requires_grad_(requires_grad=False)
