"""DCN V2: explicit feature crosses beside or below a deep tower (Wang et al. 2021)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from recscale.configfile import Settings
from recscale.models import jagged
from recscale.models.clock import Gap
from recscale.models.counting import cost, linear_flops
from recscale.models.ctr.clicks import click_loss
from recscale.models.fields import Fields
from recscale.models.items import Items
from recscale.models.settings import Count, Fraction, Layers
from recscale.models.tower import HIDDEN, first_layer, linear, tower, tower_flops
from recscale.types import Batch, Catalogue, Cost, History, Schema


class DCNv2Config(Settings):
    """Crosses below the tower (stacked) or beside it (parallel): figure 1 of the paper."""

    name: Literal["dcnv2"] = "dcnv2"
    structure: Literal["stacked", "parallel"] = "stacked"
    width: Count = 32
    crosses: Count = 2
    hidden: Layers = HIDDEN
    dropout: Fraction = 0.1
    negatives: Count = 8  # a positive, in a log without exposures


class Crosses(nn.Module):
    """x_{l+1} = x_0 * (W_l x_l + b_l) + x_l (eq. 1)."""

    def __init__(self, inputs: int, count: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.layers = nn.ModuleList(nn.Linear(inputs, inputs) for _ in range(count))

    def forward(self, own: Tensor, shared: Tensor, row: Tensor) -> Tensor:
        """own [N, I], shared [B, S], row [N] -> [N, I + S]."""
        first = torch.cat([own, shared.index_select(0, row)], dim=1)
        head, *rest = self.layers
        assert isinstance(head, nn.Linear)
        x = torch.addcmul(first, first, linear(head, own, shared, row))
        for layer in rest:
            x = torch.addcmul(x, first, layer(x))
        return x

    def flops(self, shared: int, candidates: int) -> int:
        """What a row shares passes the first layer once."""
        saved = 2 * (candidates - 1) * shared * self.inputs
        return linear_flops(self, candidates) - saved


class Stacked(nn.Module):
    """The tower reads the crosses."""

    def __init__(self, config: DCNv2Config, inputs: int) -> None:
        super().__init__()
        self.crosses = Crosses(inputs, config.crosses)
        self.deep = tower(inputs, config.hidden, config.dropout)
        self.output = nn.Linear(config.hidden[-1], 1)

    def forward(self, own: Tensor, shared: Tensor, row: Tensor) -> Tensor:
        """own [N, I], shared [B, S], row [N] -> [N]."""
        return self.output(self.deep(self.crosses(own, shared, row)))[:, 0]

    def flops(self, shared: int, candidates: int) -> int:
        """One request whose candidates share that many inputs."""
        above = linear_flops(self.deep, candidates) + linear_flops(self.output, candidates)
        return self.crosses.flops(shared, candidates) + above


class Parallel(nn.Module):
    """The tower and the crosses read the same features; the output reads both."""

    def __init__(self, config: DCNv2Config, inputs: int) -> None:
        super().__init__()
        self.crosses = Crosses(inputs, config.crosses)
        self.deep = tower(inputs, config.hidden, config.dropout)
        self.output = nn.Linear(inputs + config.hidden[-1], 1)

    def forward(self, own: Tensor, shared: Tensor, row: Tensor) -> Tensor:
        """own [N, I], shared [B, S], row [N] -> [N]."""
        crossed = self.crosses(own, shared, row)
        deep = self.deep[1:](first_layer(self.deep, own, shared, row))
        return self.output(torch.cat([crossed, deep], dim=1))[:, 0]

    def flops(self, shared: int, candidates: int) -> int:
        """One request whose candidates share that many inputs."""
        deep = tower_flops(self.deep, shared, candidates)
        return self.crosses.flops(shared, candidates) + deep + linear_flops(self.output, candidates)


class DCNv2(nn.Module):
    """Click model over item, user and request features, the mean of the history and its end."""

    def __init__(self, config: DCNv2Config, schema: Schema, catalogue: Catalogue) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.schema = schema
        self.items = Items(schema, catalogue, width)
        self.event = Fields(schema.context + schema.event, width)
        self.user = Fields(schema.user, width)
        self.context = Fields(schema.context, width)
        self.gap = Gap(width)
        self.start = nn.Parameter(torch.randn(2, width) * 0.02)  # mean and end of no history
        fields = self.items.count + self.user.count + self.context.count + 3
        match config.structure:
            case "stacked":
                self.network = Stacked(config, fields * width)
            case "parallel":
                self.network = Parallel(config, fields * width)

    def score(self, batch: Batch) -> Tensor:
        """[N] logits."""
        return self.answer(self.events(batch.history), batch)

    def events(self, history: History) -> Tensor:
        """[T, D], each event alone: what can be kept of it between requests."""
        events = self.items(history.features["item"])
        return events + self.event(history.features, len(events)).sum(1)

    def answer(self, events: Tensor, batch: Batch) -> Tensor:
        """events [T, D] -> [N] logits; of the history itself only the clocks are read."""
        ahead = batch.candidates
        row = jagged.owner(ahead.offsets)
        fields = [
            self.items.parts(ahead.features["item"]),
            self.context(ahead.features, len(row)),
            self._history(events, batch, row),
            self.gap(batch, row)[:, None],
        ]
        user = self.user(batch.user, len(batch.history.lengths)).flatten(1)
        return self.network(torch.cat(fields, dim=1).flatten(1), user, row)

    def loss(self, batch: Batch) -> Tensor:
        """See click_loss."""
        return click_loss(self.score, batch, self.schema, self.config.negatives)

    def cost(self, history: int, candidates: int) -> Cost:  # noqa: ARG002
        """Every candidate passes the network once; pooling the history takes no product."""
        return cost(self, self.network.flops(self.user.count * self.config.width, candidates))

    def _history(self, events: Tensor, batch: Batch, row: Tensor) -> Tensor:
        """[N, 2, D], the mean of each candidate's visible events and the last of them."""
        past = batch.history
        both = torch.stack([jagged.running_mean(events, past.offsets), events], dim=1)
        return jagged.newest(both, self.start, past.offsets, row, batch.candidates.prefix)
