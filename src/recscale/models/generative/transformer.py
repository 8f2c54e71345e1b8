"""Causal transformer over the history: SASRec (Kang & McAuley 2018) with pre-normalisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recscale.models import jagged
from recscale.models.clock import pairwise_age
from recscale.models.counting import linear_flops
from recscale.models.forgetting import Forgetting, NoForgetting, Traits
from recscale.models.generative.settings import EncoderSettings
from recscale.types import History

ROWS = 16  # attended to together: of like length, they pad each other little


class TransformerConfig(EncoderSettings):
    """The published ML-1M model has two blocks of width 50 and one head."""

    name: Literal["transformer"] = "transformer"


@dataclass(frozen=True, slots=True)
class Among:
    """The b rows of a group, and what lies between two of their events."""

    group: jagged.Group
    decay: Tensor | None  # [b, H, L, L] logits with the causal mask; None: the mask alone


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

    def forward(self, x: Tensor, among: tuple[Among, ...]) -> Tensor:
        """x [T, D] sorted -> [T, D]."""
        qkv = self.project(self.norm_attention(x))
        mixed = [self._attend(qkv[part.group.events], part) for part in among]
        x = x + self.dropout(self.output(torch.cat(mixed) if mixed else x))
        return x + self.dropout(self.feed(self.norm_feed(x)))

    def _attend(self, qkv: Tensor, among: Among) -> Tensor:
        """[t, 3 D] -> [t, D], of one group."""
        where, decay = among.group.where, among.decay
        q, k, v = jagged.pad(qkv, where).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        # Padding lies after a row's last event, where the causal mask hides it already.
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=decay, is_causal=decay is None)
        return jagged.unpad(mixed.movedim(1, 2).flatten(2), where)


class Transformer(nn.Module):
    """Encodes a history event by event; no event sees a later one.

    Positions are counted from the start of the row: counted from its end they would move with
    every new event, and past states with them.
    """

    def __init__(self, config: TransformerConfig, history: int, forgetting: Forgetting) -> None:
        super().__init__()
        self.width = config.width
        self.positions = nn.Parameter(torch.randn(history, config.width) * config.width**-0.5)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.width)
        self.forgetting = forgetting

    def forward(self, x: Tensor, history: History) -> Tensor:
        """[T, D] -> [T, D]."""
        where = jagged.group(history.offsets, lambda _: ROWS)
        clock = history.time[where.order]
        traits = self.forgetting.traits(history, x)
        among = tuple(
            self._among(group, clock, traits.padded(group.where, where.order[group.events]))
            for group in where.groups
        )
        x = (x + self._positions(history.offsets)).index_select(0, where.order)
        for block in self.blocks:
            x = block(x, among)
        return self.norm(x).index_select(0, where.back)

    def _positions(self, offsets: Tensor) -> Tensor:
        """[T, D]."""
        place = torch.arange(int(offsets[-1]), device=offsets.device)
        return self.positions.index_select(0, place - offsets[jagged.owner(offsets)])

    def _among(self, group: jagged.Group, clock: Tensor, traits: Traits) -> Among:
        """Without forgetting no mask: the kernel is faster with its own causal one."""
        if isinstance(self.forgetting, NoForgetting):
            return Among(group, None)
        age = pairwise_age(jagged.pad(clock[group.events], group.where))
        seen = torch.arange(1, age.shape[1] + 1, device=age.device)[None]
        decay = self.forgetting(age, seen, traits).log().expand(len(age), -1, -1, -1)
        later = torch.ones_like(age[0], dtype=torch.bool).triu(1)
        return Among(group, decay.masked_fill(later, -torch.inf))

    def flops(self, length: int) -> int:
        """Linear layers, two attention products a block, and the curves of decay once."""
        attention = len(self.blocks) * 4 * length * length * self.width
        return linear_flops(self, length) + attention + self.forgetting.flops()
