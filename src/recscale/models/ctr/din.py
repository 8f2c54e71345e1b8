"""DIN: each candidate attends to the user's history (Zhou et al. 2018)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from recscale.configfile import Settings
from recscale.models import jagged
from recscale.models.clock import Gap, age_seconds
from recscale.models.counting import cost, linear_flops
from recscale.models.ctr.attention import AttentionUnit
from recscale.models.ctr.clicks import click_loss
from recscale.models.fields import Fields
from recscale.models.forgetting import (
    Forgetting,
    ForgettingConfig,
    NoForgettingConfig,
    Traits,
)
from recscale.models.items import Items
from recscale.models.settings import Count, Fraction, Layers
from recscale.models.tower import HIDDEN, first_layer, tower, tower_flops
from recscale.types import Batch, Catalogue, Cost, History, Schema

TILES = (1, 2, 4, 8, 16, 32, 64)  # how many candidates of one row may be scored together
CELLS = 2**20  # numbers in the largest intermediate of one step over tiles: 4 MB, within a cache


class DINConfig(Settings):
    """One attention unit, one tower."""

    name: Literal["din"] = "din"
    width: Count = 32
    attention: Count = 32  # hidden width of the attention unit
    hidden: Layers = HIDDEN
    dropout: Fraction = 0.1
    negatives: Count = 8  # a positive, in a log without exposures
    forgetting: ForgettingConfig = NoForgettingConfig()


class DIN(nn.Module):
    """Click model over item, user and request features and the history as the candidate sees it."""

    def __init__(
        self, config: DINConfig, schema: Schema, catalogue: Catalogue, forgetting: Forgetting
    ) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.schema = schema
        self.items = Items(schema, catalogue, width)
        self.event = Fields(schema.context + schema.event, width)
        self.user = Fields(schema.user, width)
        self.context = Fields(schema.context, width)
        self.gap = Gap(width)
        self.start = nn.Parameter(torch.randn(width) * 0.02)  # the interest of no history
        self.attention = AttentionUnit(width, config.attention)
        self.forgetting = forgetting  # of one head
        fields = 4 + self.user.count + self.context.count
        self.tower = tower(fields * width, config.hidden, config.dropout)
        self.output = nn.Linear(config.hidden[-1], 1)

    def score(self, batch: Batch) -> Tensor:
        """[N] logits."""
        return self.answer(self.events(batch.history), batch)

    def events(self, history: History) -> Tensor:
        """[T, D], each event alone: what can be kept of it between requests."""
        events = self.items(history.features["item"])
        return events + self.event(history.features, len(events)).sum(1)

    def answer(self, events: Tensor, batch: Batch) -> Tensor:
        """events [T, D] -> [N] logits; of the history itself clocks and items are read."""
        ahead = batch.candidates
        row = jagged.owner(ahead.offsets)
        candidate = self.items(ahead.features["item"])  # [N, D]
        interest = self._interest(candidate, events, batch)
        interest = torch.where(ahead.prefix[:, None] > 0, interest, self.start)
        fields = [
            candidate,
            interest,
            candidate * interest,
            self.gap(batch, row),
            self.context(ahead.features, len(row)).flatten(1),
        ]
        user = self.user(batch.user, len(batch.history.lengths)).flatten(1)
        first = first_layer(self.tower, torch.cat(fields, dim=1), user, row)
        return self.output(self.tower[1:](first))[:, 0]

    def loss(self, batch: Batch) -> Tensor:
        """See click_loss."""
        loss = click_loss(self.score, batch, self.schema, self.config.negatives)
        return loss + self.forgetting.penalty()

    def cost(self, history: int, candidates: int) -> Cost:
        """Pairs cost the attention unit and the sum; the rest is counted once each."""
        pairs = history * candidates
        unit = self.attention.flops(history, candidates) + self.forgetting.flops()
        unit += linear_flops(self.forgetting, history)
        pooling = 2 * pairs * self.config.width
        inputs = self.user.count * self.config.width
        towers = tower_flops(self.tower, inputs, candidates) + linear_flops(self.output, candidates)
        return cost(self, unit + pooling + towers)

    def _interest(self, candidate: Tensor, events: Tensor, batch: Batch) -> Tensor:
        """[N, D], [T, D] -> [N, D], over tiles: a few candidates of one row against its history."""
        past, ahead = self.forgetting.reads(batch), batch.candidates
        row, offsets = jagged.tiles(ahead.offsets, _tile(ahead.offsets))
        where, before = jagged.layout(offsets), jagged.layout(past.offsets)
        traits = self.forgetting.traits(past, events).padded(before)
        events = jagged.pad(events, before)
        clock = jagged.pad(past.time, before)  # [B, L]
        wanted = jagged.pad(candidate, where)  # [R, C, D]
        now, prefix = jagged.pad(ahead.time, where), jagged.pad(ahead.prefix, where)
        step = max(1, CELLS // (where.length * before.length * self.config.attention))
        pooled = [
            self._pool(
                wanted[part],
                events.index_select(0, row[part]),
                age_seconds(now[part][:, :, None], clock[row[part]][:, None]),
                prefix[part],
                traits.of(row[part]),
            )
            for part in torch.arange(len(row), device=row.device).split(step)
        ]
        return jagged.unpad(torch.cat(pooled), where) if pooled else candidate

    def _pool(
        self, candidate: Tensor, events: Tensor, age: Tensor, prefix: Tensor, traits: Traits
    ) -> Tensor:
        """candidate [R, C, D], events [R, L, D], age [R, C, L], prefix [R, C] -> [R, C, D].

        The weights are not normalised (section 4.3): their sum says how strong the interest is.
        """
        place = torch.arange(events.shape[1], device=events.device)
        visible = place < prefix[:, :, None]
        fading = self.forgetting(age, prefix, traits)[:, 0]  # [R, C, L]
        weight = self.attention(candidate, events) * fading * visible
        return weight @ events


def _tile(offsets: Tensor) -> int:
    """The size of tiles that costs least: for each its cells, and one more for its history."""
    lengths = offsets.diff()
    if not len(lengths):
        return 1
    sizes = torch.tensor(TILES, device=offsets.device)
    tiles = (lengths + sizes[:, None] - 1).div(sizes[:, None], rounding_mode="floor").sum(1)
    return TILES[int((tiles * (sizes.clamp(max=lengths.max()) + 1)).argmin())]
