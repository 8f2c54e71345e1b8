"""HSTU: attention without a softmax, gated point by point (Zhai et al. 2024, eq. 1 to 3)."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recscale.models.counting import linear_flops
from recscale.models.forgetting import Forgetting
from recscale.models.generative.attention import Pairs, attend, num_pairs, pairs
from recscale.models.generative.bias import RelativeBias
from recscale.models.generative.settings import EncoderSettings
from recscale.types import History


class HSTUConfig(EncoderSettings):
    """The published ML-1M model has two blocks of width 50 and one head."""

    name: Literal["hstu"] = "hstu"
    # position: time is left to `forgetting`; both at once explain the same ages
    bias: Literal["position_and_time", "position"] = "position_and_time"
    # what an event's sum over the past is divided by: the longest history, or how much past it has
    divide_by: Literal["history", "past"] = "history"


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
        self.bias = RelativeBias(history, by_time=config.bias == "position_and_time")

    def forward(self, x: Tensor, among: Pairs, scale: Tensor) -> Tensor:
        """x [T, D] sorted, scale [N] -> [T, D]."""
        width = x.shape[1]
        u, vqk = F.silu(self.project(self.norm_in(x))).split([width, 3 * width], dim=1)
        mixed = attend(vqk, self.bias.table(), scale, among, self.heads)
        return x + self.output(self.dropout(self.norm_out(mixed) * u))


class HSTU(nn.Module):
    """Encodes a history event by event; no event sees a later one."""

    scale: Tensor

    def __init__(self, config: HSTUConfig, history: int, forgetting: Forgetting) -> None:
        super().__init__()
        self.width = config.width
        self.blocks = nn.ModuleList(Block(config, history) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.width)
        self.forgetting = forgetting
        # Never by the padded length: a score would depend on its neighbours.
        past = torch.arange(1, history + 1)
        divisor = past if config.divide_by == "past" else torch.full_like(past, history)
        self.register_buffer("scale", 1 / divisor, persistent=False)  # [N] by place in the row

    def forward(self, x: Tensor, history: History) -> Tensor:
        """[T, D] -> [T, D]."""
        among = pairs(history, x, self.forgetting, len(self.scale))
        x = x.index_select(0, among.where.order)
        for block in self.blocks:
            x = block(x, among, self.scale)
        return self.norm(x).index_select(0, among.where.back)

    def flops(self, length: int) -> int:
        """Linear layers, two attention products a block, and the curves of decay once."""
        looks = num_pairs(length)
        attention = len(self.blocks) * 4 * looks * self.width
        return linear_flops(self, length) + attention + self.forgetting.flops()
