"""Learned attention biases by distance in the sequence and in time."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from recscale.models.clock import BUCKETS
from recscale.models.embedding import SPREAD

NEVER = -1e30  # SiLU and its derivative are exactly zero there


class RelativeBias(nn.Module):
    """rab^{p,t} of HSTU (Zhai et al. 2024, eq. 2): by position and by log-time bucket."""

    time: Tensor

    def __init__(self, history: int, *, by_time: bool = True) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(history) * SPREAD)
        if by_time:
            self.time = nn.Parameter(torch.randn(BUCKETS) * SPREAD)
        else:
            self.register_buffer("time", torch.zeros(BUCKETS), persistent=False)

    def table(self) -> Tensor:
        """[(N + 1) BUCKETS], the sum for each distance and bucket; last, the future's.

        One table is read once a pair instead of two, and its gradient is one histogram.
        """
        both = self.position[:, None] + self.time
        return torch.cat([both, torch.full_like(both[:1], NEVER)]).flatten()


def entries(buckets: Tensor, distance: Tensor, history: int) -> Tensor:
    """Time buckets [b, l, n], distance [l, n] in events, negative ahead -> entries of the table."""
    return buckets + torch.where(distance < 0, history, distance) * BUCKETS


class Lookup(torch.autograd.Function):
    """table[index] for a table of numbers, with a histogram as its gradient.

    PyTorch's own gradient adds one element at a time, and took 40 % of a training step.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor) -> Tensor:
        """table [M], index [...] int -> [...]."""
        ctx.save_for_backward(index)
        ctx.size = len(table)
        return table.index_select(0, index.flatten()).view(index.shape)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        """Sum of the gradient over every place that reads an entry."""
        (index,) = ctx.saved_tensors
        (grad,) = grad_outputs
        total = torch.bincount(index.flatten(), weights=grad.flatten(), minlength=ctx.size)
        return total.to(grad.dtype), None


def lookup(table: Tensor, index: Tensor) -> Tensor:
    """table [M], index [...] int -> [...]."""
    return cast(Tensor, Lookup.apply(table, index))
