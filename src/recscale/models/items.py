"""What a model knows of an item: its id and its features in the catalogue."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recscale.models.embedding import Bags
from recscale.models.fields import Fields
from recscale.types import UNSEEN, Catalogue, Lists, Schema


class Items(nn.Module):
    """F vectors for each item: the id, then its features. Their sum is the item's vector.

    The catalogue is kept in buffers, so that a checkpoint serves without the prepared data.
    """

    ids: Tensor  # [Fc, V] the item's own id first
    numbers: Tensor  # [Fn, V]
    frozen: Tensor  # [V, sum of sizes] vectors of all vector features, side by side
    values: Tensor  # lists of all items for the first list feature, then the next
    offsets: Tensor  # [Fm * V + 1]
    share: Tensor  # [V] of the positive events in training

    def __init__(self, schema: Schema, catalogue: Catalogue, width: int) -> None:
        super().__init__()
        lists = [feature for feature in schema.item if feature.kind == "multi"]
        self.num_items = schema.num_items
        self.fields = Fields(schema.item, width)
        self.bags = Bags(lists, width) if lists else None
        self.count = self.fields.count + len(lists)
        own = torch.arange(schema.num_items)
        ids = [own, *(catalogue.single[name] for name in self.fields.categorical[1:])]
        numbers = [catalogue.single[name].float() for name in self.fields.numeric]
        self.register_buffer("ids", torch.stack(ids))
        none = torch.zeros(0, schema.num_items)
        self.register_buffer("numbers", torch.stack(numbers) if numbers else none)
        self.sizes = {f.name: f.size for f in schema.item if f.kind == "vector"}
        vectors = [catalogue.single[name] for name in self.sizes]
        self.register_buffer("frozen", torch.cat([torch.zeros(len(own), 0), *vectors], dim=1))
        values, offsets = _chain([catalogue.multi[feature.name] for feature in lists])
        self.register_buffer("values", values)
        self.register_buffer("offsets", offsets)
        popularity = catalogue.popularity.clamp(min=1).float()
        popularity[: UNSEEN + 1] = 0
        self.register_buffer("share", popularity / popularity.sum(), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """[R] -> [R, D]."""
        if self._worth_the_table(ids):
            return self.table().index_select(0, ids)
        return self._some(ids).sum(1)

    def parts(self, ids: Tensor) -> Tensor:
        """[R] -> [R, F, D]."""
        if self._worth_the_table(ids):
            return self._all().index_select(0, ids)
        return self._some(ids)

    def table(self) -> Tensor:
        """[V, D]."""
        return self._all().sum(1)

    def unit(self, ids: Tensor) -> Tensor:
        """[R] -> [R, D], each of length 1."""
        if self._worth_the_table(ids):
            return self.unit_table().index_select(0, ids)
        return F.normalize(self._some(ids).sum(1), dim=-1)

    def unit_table(self) -> Tensor:
        """[V, D], each of length 1."""
        return F.normalize(self.table(), dim=-1)

    def _worth_the_table(self, ids: Tensor) -> bool:
        return len(ids) >= self.num_items

    def _all(self) -> Tensor:
        """[V, F, D]."""
        plain = self._plain(self.ids, self.numbers, self.frozen)
        if self.bags is None:
            return plain
        return torch.cat([plain, self.bags(self.values, self.offsets)], dim=1)

    def _some(self, ids: Tensor) -> Tensor:
        """[R] -> [R, F, D]."""
        plain = self._plain(self.ids[:, ids], self.numbers[:, ids], self.frozen[ids])
        if self.bags is None:
            return plain
        num_lists = self.count - self.fields.count
        shift = torch.arange(num_lists, device=ids.device) * self.num_items
        values, offsets = _pick(self.values, self.offsets, (shift[:, None] + ids).flatten())
        return torch.cat([plain, self.bags(values, offsets)], dim=1)

    def _plain(self, ids: Tensor, numbers: Tensor, vectors: Tensor) -> Tensor:
        """[Fc, R], [Fn, R], [R, sum of sizes] -> [R, Fc + Fn + Fv, D]."""
        columns = dict(zip(self.fields.categorical, ids, strict=True))
        columns |= dict(zip(self.fields.numeric, numbers, strict=True))
        parts = vectors.split([*self.sizes.values()], dim=1) if self.sizes else ()
        columns |= dict(zip(self.sizes, parts, strict=True))
        return self.fields(columns, ids.shape[1])


def _chain(lists: list[Lists]) -> tuple[Tensor, Tensor]:
    """Lists of several features end to end: values, offsets."""
    if not lists:
        return torch.zeros(0, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    lengths = torch.cat([part.offsets.diff() for part in lists])
    values = torch.cat([part.values for part in lists])
    return values, F.pad(lengths.cumsum(0), (1, 0))


def _pick(values: Tensor, offsets: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The lists of `rows` [R], end to end: values, offsets [R + 1]."""
    lengths = offsets.diff()[rows]
    picked = F.pad(lengths.cumsum(0), (1, 0))
    owner = torch.repeat_interleave(lengths)
    place = torch.arange(len(owner), device=rows.device) - picked[owner]
    return values[offsets[rows][owner] + place], picked
