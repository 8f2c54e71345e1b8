"""What this user did last, again: the floor under every claim about replay."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from recscale.configfile import Settings
from recscale.models import jagged
from recscale.models.counting import cost
from recscale.types import UNSEEN, Batch, Catalogue, Cost


class RecentConfig(Settings):
    """Nothing to set."""

    name: Literal["recent"] = "recent"


class Recent(nn.Module):
    """The user's own items, newest first; then all others by popularity."""

    popularity: Tensor

    def __init__(self, catalogue: Catalogue) -> None:
        super().__init__()
        self.register_buffer("popularity", catalogue.popularity.clone())

    def score(self, batch: Batch) -> Tensor:
        """[N]: where the item last stood in the visible history (1, 2, ...), or below 1."""
        item = batch.candidates.features["item"]
        place = last_place(batch, len(self.popularity))
        popular = self.popularity.float().log1p()
        popular = popular / (popular.max() + 1)  # in [0, 1): below any item of the user's own
        # UNSEEN stands for every item that training lacks: two of them are not the same item.
        own = (place > 0) & (item != UNSEEN)
        return torch.where(own, place.float(), popular[item])

    def loss(self, batch: Batch) -> Tensor:
        """Zero: there is nothing to train."""
        return torch.zeros((), device=batch.candidates.time.device)

    def cost(self, history: int, candidates: int) -> Cost:  # noqa: ARG002
        """Comparisons only."""
        return cost(self, 0)


def last_place(batch: Batch, num_items: int) -> Tensor:
    """[N]: 1 + the place of each item's newest visible event in its row, 0 where there is none."""
    past, ahead = batch.history, batch.candidates
    owner, row = jagged.owner(past.offsets), jagged.owner(ahead.offsets)
    place = torch.arange(len(owner), device=owner.device) - past.offsets[owner] + 1
    size = len(owner) + 1
    # One sorted list of (row, item, place) answers all candidates: the newest visible event is the
    # largest entry not beyond (row, item, prefix). Place 0 of every candidate is in the list, so
    # that an item never seen finds that.
    pair = row * num_items + ahead.features["item"]
    seen = (owner * num_items + past.features["item"]) * size + place
    entries = torch.cat([seen, pair * size]).sort().values
    found = torch.searchsorted(entries, pair * size + ahead.prefix, right=True) - 1
    return entries[found] % size
