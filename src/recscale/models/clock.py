"""Time between events, as models read it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recscale.models import jagged
from recscale.types import Batch

BUCKETS = 64  # half octaves: the last one starts at 2^31.5 seconds, about 96 years


def age_seconds(now: Tensor, then: Tensor) -> Tensor:
    """int64 milliseconds -> float32 seconds, 0 where clocks run backwards.

    Subtracted before the cast: float32 milliseconds since 1970 are two minutes apart.
    """
    return (now - then).float().div_(1000).clamp_(min=0)


def pairwise_age(clock: Tensor) -> Tensor:
    """[B, L] milliseconds -> [B, L, L] seconds from the event in the column to that in the row."""
    return age_seconds(clock[:, :, None], clock[:, None, :])


def bucket(seconds: Tensor) -> Tensor:
    """[...] -> [...] int32 in 0..BUCKETS-1: half octaves of 1 + seconds.

    Exponent and first mantissa bit of the float are that bucket already: no logarithm is taken.
    """
    return (
        (seconds + 1).view(torch.int32).bitwise_right_shift_(22).sub_(254).clamp_(max=BUCKETS - 1)
    )


class Gap(nn.Module):
    """How long the user had been away when the candidate was requested, as a learned vector."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(BUCKETS + 1, width)  # the last row: nothing happened before
        nn.init.normal_(self.table.weight, std=0.02)

    def forward(self, batch: Batch, row: Tensor) -> Tensor:
        """row [N], the row of each candidate -> [N, D]."""
        past, ahead = batch.history, batch.candidates
        never = past.time.new_zeros(())
        seen = jagged.newest(past.time, never, past.offsets, row, ahead.prefix)
        away = bucket(age_seconds(ahead.time, seen))
        return self.table(torch.where(ahead.prefix > 0, away, BUCKETS))
