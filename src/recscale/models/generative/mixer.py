"""Mixing without attention: where and when events happened decides, never what they were.

The two maps of FuXi-beta (Ye et al. 2025), by position and by time, without queries and keys: the
cheapest strong baseline, and what content attention has to beat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recscale.models import jagged
from recscale.models.clock import BUCKETS, bucket, pairwise_age
from recscale.models.counting import linear_flops
from recscale.models.embedding import SPREAD
from recscale.models.forgetting import Forgetting, NoForgetting, Traits
from recscale.models.generative.bias import lookup
from recscale.models.generative.settings import EncoderSettings
from recscale.types import History

ROWS = 16  # mixed together: of like length, they pad each other little


class MixerConfig(EncoderSettings):
    """Each head has its own two maps."""

    name: Literal["mixer"] = "mixer"


@dataclass(frozen=True, slots=True)
class Among:
    """The b rows of a group, and what lies between two of their events."""

    group: jagged.Group
    buckets: Tensor  # [b, L, L] int32; BUCKETS where the column is the later event
    distance: Tensor  # [L, L] events; N where the column is the later event
    gate: Tensor | None  # broadcast to [b, H, L, L]


class Block(nn.Module):
    """(P v | T v) u: position map, time map, a gate on both; then a feed-forward net."""

    def __init__(self, config: MixerConfig, history: int) -> None:
        super().__init__()
        width = config.width
        self.width, self.heads = width, config.heads
        self.norm_in = nn.LayerNorm(width)
        self.norm_mixed = nn.LayerNorm(2 * width)
        self.norm_feed = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.output = nn.Linear(2 * width, width)
        self.feed = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.dropout = nn.Dropout(config.dropout)
        self.position = nn.Parameter(torch.randn(config.heads, history) * SPREAD + 1)
        self.time = nn.Parameter(torch.randn(config.heads, BUCKETS) * SPREAD + 1)

    def forward(self, x: Tensor, among: tuple[Among, ...], scale: Tensor) -> Tensor:
        """x [T, D] sorted, scale [N] -> [T, D]."""
        v, u = F.silu(self.project(self.norm_in(x))).split([self.width, 2 * self.width], dim=1)
        mixed = [self._mix(v[part.group.events], part, scale) for part in among]
        mixed = torch.cat(mixed) if mixed else u
        x = x + self.dropout(self.output(self.norm_mixed(mixed) * u))
        return x + self.dropout(self.feed(self.norm_feed(x)))

    def _mix(self, v: Tensor, among: Among, scale: Tensor) -> Tensor:
        """[t, D] -> [t, 2 D], of one group."""
        where = among.group.where
        v = jagged.pad(v, where).unflatten(-1, (self.heads, -1)).movedim(2, 1)  # [b, H, L, d]
        time = torch.stack([lookup(row, among.buckets) for row in F.pad(self.time, (0, 1))], dim=1)
        if among.gate is not None:
            time = time * among.gate
        position = F.pad(self.position, (0, 1))[:, among.distance]
        mixed = torch.cat([position @ v, time @ v], dim=-1) * scale[: where.length, None]
        return jagged.unpad(mixed.movedim(1, 2).flatten(2), where)


class Mixer(nn.Module):
    """Encodes a history event by event; no event sees a later one."""

    scale: Tensor

    def __init__(self, config: MixerConfig, history: int, forgetting: Forgetting) -> None:
        super().__init__()
        self.width = config.width
        self.blocks = nn.ModuleList(Block(config, history) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.width)
        self.forgetting = forgetting
        self.register_buffer("scale", 1 / torch.arange(1, history + 1), persistent=False)

    def forward(self, x: Tensor, history: History) -> Tensor:
        """[T, D] -> [T, D]."""
        where = jagged.group(history.offsets, lambda _: ROWS)
        clock = history.time[where.order]
        traits = self.forgetting.traits(history, x)
        among = tuple(
            self._among(group, clock, traits.padded(group.where, where.order[group.events]))
            for group in where.groups
        )
        x = x.index_select(0, where.order)
        for block in self.blocks:
            x = block(x, among, self.scale)
        return self.norm(x).index_select(0, where.back)

    def _among(self, group: jagged.Group, clock: Tensor, traits: Traits) -> Among:
        age = pairwise_age(jagged.pad(clock[group.events], group.where))
        place = torch.arange(group.where.length, device=clock.device)
        distance = place[:, None] - place
        later = distance < 0
        buckets = bucket(age).masked_fill_(later, BUCKETS)
        distance = distance.masked_fill_(later, len(self.scale))
        if isinstance(self.forgetting, NoForgetting):
            return Among(group, buckets, distance, None)
        return Among(group, buckets, distance, self.forgetting(age, place[None] + 1, traits))

    def flops(self, length: int) -> int:
        """Linear layers, two maps a block, and the curves of decay once."""
        pairs = length * length
        maps = len(self.blocks) * 4 * pairs * self.width
        return linear_flops(self, length) + maps + self.forgetting.flops()
