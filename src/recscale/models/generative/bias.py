"""Learned attention biases by distance in the sequence and in time."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recscale.models.clock import BUCKETS
from recscale.models.embedding import SPREAD

NEVER = -1e30  # SiLU and its derivative are exactly zero there


class RelativeBias(nn.Module):
    """rab^{p,t} of HSTU (Zhai et al. 2024, eq. 2): by position and by log-time bucket."""

    def __init__(self, history: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(history) * SPREAD)
        self.time = nn.Parameter(torch.randn(BUCKETS) * SPREAD)

    def table(self) -> Tensor:
        """[(N + 1) BUCKETS], the sum for each distance and bucket; last, the future's.

        One table is read once a pair instead of two, and its gradient is one histogram.
        """
        both = self.position[:, None] + self.time
        return torch.cat([both, torch.full_like(both[:1], NEVER)]).flatten()


def entries(buckets: Tensor, distance: Tensor, history: int) -> Tensor:
    """Time buckets [b, l, n], distance [l, n] in events, negative ahead -> entries of the table."""
    return buckets + torch.where(distance < 0, history, distance) * BUCKETS
