"""A finished model inside another one."""

from __future__ import annotations

from typing import Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from recscale.types import Batch, Ranker

R = TypeVar("R", bound=Ranker)


class Member(nn.Module, Generic[R]):
    """Its weights do not move, and its dropout stays off while the combiner trains."""

    ranker: R

    def __init__(self, ranker: R) -> None:
        super().__init__()
        assert isinstance(ranker, nn.Module)
        self.ranker = ranker.requires_grad_(requires_grad=False).eval()

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002, FBT001, FBT002, nn.Module's own
        """Evaluation mode, always."""
        return super().train(False)

    @torch.no_grad()
    def score(self, batch: Batch) -> Tensor:
        """[N]."""
        return self.ranker.score(batch)
