"""The most popular items, for everybody: the floor under every other model."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from recscale.configfile import Settings
from recscale.models.counting import cost
from recscale.types import Batch, Catalogue, Cost


class PopularityConfig(Settings):
    """Nothing to set."""

    name: Literal["popularity"] = "popularity"


class Popularity(nn.Module):
    """Scores an item by the log of its positive events in the training part."""

    popularity: Tensor

    def __init__(self, catalogue: Catalogue) -> None:
        super().__init__()
        self.register_buffer("popularity", catalogue.popularity.clone())

    def score(self, batch: Batch) -> Tensor:
        """[N]."""
        return self.popularity.float().log1p()[batch.candidates.features["item"]]

    def loss(self, batch: Batch) -> Tensor:
        """Zero: there is nothing to train."""
        return torch.zeros((), device=batch.candidates.time.device)

    def cost(self, history: int, candidates: int) -> Cost:  # noqa: ARG002
        """One look-up a candidate."""
        return cost(self, 0)
