"""Causal transformer over the history: SASRec (Kang & McAuley 2018) with pre-normalisation."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recscale.models import jagged
from recscale.models.counting import linear_flops
from recscale.models.forgetting import build_forgetting
from recscale.models.generative.settings import EncoderSettings
from recscale.types import History


class TransformerConfig(EncoderSettings):
    """The published ML-1M model has two blocks of width 50 and one head."""

    name: Literal["transformer"] = "transformer"


class Block(nn.Module):
    """Causal softmax attention (eq. 3), then a feed-forward net of the same width (eq. 5)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.norm_attention = nn.LayerNorm(width)
        self.norm_feed = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, where: jagged.Layout, decay: Tensor | None) -> Tensor:
        """x [T, D], decay [B, H, L, L] logits with the causal mask, or None -> [T, D]."""
        qkv = jagged.pad(self.project(self.norm_attention(x)), where)
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        # Padding lies after a row's last event, where the causal mask hides it already.
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=decay, is_causal=decay is None)
        x = x + self.dropout(self.output(jagged.unpad(mixed.movedim(1, 2).flatten(2), where)))
        return x + self.dropout(self.feed(self.norm_feed(x)))


class Transformer(nn.Module):
    """Encodes a history event by event; no event sees a later one.

    Positions are counted from the start of the row: counted from its end they would move with
    every new event, and past states with them.
    """

    def __init__(self, config: TransformerConfig, history: int) -> None:
        super().__init__()
        self.width = config.width
        self.positions = nn.Parameter(torch.randn(history, config.width) * config.width**-0.5)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.width)
        self.forgetting = build_forgetting(config.forgetting, config.heads)

    def forward(self, x: Tensor, history: History) -> Tensor:
        """[T, D] -> [T, D]."""
        where = jagged.layout(history.offsets)
        x = x + self.positions[where.index % where.length]
        decay = self.forgetting.logits(jagged.pad(history.time, where))
        if decay is not None:
            later = torch.ones_like(decay[0, 0], dtype=torch.bool).triu(1)
            decay = decay.masked_fill(later, -torch.inf)
        for block in self.blocks:
            x = block(x, where, decay)
        return self.norm(x)

    def flops(self, length: int) -> int:
        """Linear layers, two attention products a block, and the decay curve once."""
        attention = len(self.blocks) * 4 * length * length * self.width
        return linear_flops(self, length) + attention + self.forgetting.flops(length * length)
