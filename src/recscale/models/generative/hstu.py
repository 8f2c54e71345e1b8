"""HSTU: attention without a softmax, gated point by point (Zhai et al. 2024, eq. 1 to 3)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recscale.models import jagged
from recscale.models.clock import bucket, pairwise_age
from recscale.models.counting import linear_flops
from recscale.models.forgetting import build_forgetting
from recscale.models.generative.bias import RelativeBias
from recscale.models.generative.settings import EncoderSettings
from recscale.types import History


class HSTUConfig(EncoderSettings):
    """The published ML-1M model has two blocks of width 50 and one head."""

    name: Literal["hstu"] = "hstu"


class Block(nn.Module):
    """One unit: project to u, v, q, k (eq. 1); attend (eq. 2); gate by u, project, add (eq. 3)."""

    def __init__(self, config: HSTUConfig, history: int) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm_in = nn.LayerNorm(config.width)
        self.norm_out = nn.LayerNorm(config.width)
        self.project = nn.Linear(config.width, 4 * config.width)
        self.output = nn.Linear(config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.bias = RelativeBias(history)

    def forward(self, x: Tensor, where: jagged.Layout, buckets: Tensor, gate: Tensor) -> Tensor:
        """x [T, D], buckets [B, L, L], gate broadcast to [B, H, L, L] -> [T, D]."""
        u, vqk = F.silu(self.project(self.norm_in(x))).tensor_split([x.shape[1]], dim=1)
        v, q, k = jagged.pad(vqk, where).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = attend(q, k, v, self.bias(buckets), gate)  # [B, H, L, D/H]
        mixed = jagged.unpad(mixed.movedim(1, 2).flatten(2), where)
        return x + self.output(self.dropout(self.norm_out(mixed) * u))


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, gate: Tensor) -> Tensor:
    """q, k, v [B, H, L, D/H], bias [B, L, L], gate broadcast to [B, H, L, L] -> [B, H, L, D/H].

    Decay is part of the gate, outside SiLU. Added inside as log-decay it would not shrink: SiLU has
    its minimum of -0.278 at -1.278, so that a weak match would turn into a strong one.
    """
    return (F.silu(q @ k.mT + bias[:, None]) * gate) @ v


class HSTU(nn.Module):
    """Encodes a history event by event; no event sees a later one."""

    def __init__(self, config: HSTUConfig, history: int) -> None:
        super().__init__()
        self.history = history
        self.width = config.width
        self.blocks = nn.ModuleList(Block(config, history) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.width)
        self.forgetting = build_forgetting(config.forgetting, config.heads)

    def forward(self, x: Tensor, history: History) -> Tensor:
        """[T, D] -> [T, D]."""
        where = jagged.layout(history.offsets)
        age = pairwise_age(jagged.pad(history.time, where))
        causal = torch.ones_like(age[0]).tril()
        # Divided by a constant: the padded length would make a score depend on its neighbours.
        gate = self.forgetting.gate(age) * (causal / self.history)
        buckets = bucket(age)
        for block in self.blocks:
            x = block(x, where, buckets, gate)
        return self.norm(x)

    def flops(self, length: int) -> int:
        """Linear layers, two attention products a block, and the decay curve once."""
        attention = len(self.blocks) * 4 * length * length * self.width
        return linear_flops(self, length) + attention + self.forgetting.flops(length * length)
