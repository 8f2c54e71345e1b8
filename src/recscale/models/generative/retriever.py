"""What generative models share: events in, a vector of what comes next out."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recscale.models import jagged
from recscale.models.clock import Gap
from recscale.models.counting import cost
from recscale.models.fields import Fields
from recscale.models.generative.hstu import HSTU
from recscale.models.generative.transformer import Transformer
from recscale.models.items import Items
from recscale.models.losses import FullSoftmax, SampledSoftmax, retrieval_loss
from recscale.types import Batch, Catalogue, Cost, History, Schema

Encoder = HSTU | Transformer


class Calibration(nn.Module):
    """From a cosine to a logit: a rising line, so that both rank alike."""

    def __init__(self) -> None:
        super().__init__()
        self.log_slope = nn.Parameter(torch.tensor(math.log(5.0)))
        self.level = nn.Parameter(torch.tensor(0.0))

    def forward(self, cosine: Tensor) -> Tensor:
        """[N] -> [N]."""
        return self.log_slope.exp() * cosine + self.level


class Generative(nn.Module):
    """Ranks items by their cosine with the state that the user's visible history ends in.

    Row clocks inside the encoder are the events' own times, so that a state can be kept and used
    again. What the request adds (its clock, its context, the user) enters after the encoder.
    """

    def __init__(
        self,
        encoder: Encoder,
        objective: FullSoftmax | SampledSoftmax,
        dropout: float,
        schema: Schema,
        catalogue: Catalogue,
    ) -> None:
        super().__init__()
        width = encoder.width
        self.schema = schema
        self.objective = objective
        self.items = Items(schema, catalogue, width)
        self.event = Fields(schema.context + schema.event, width)
        self.dropout = nn.Dropout(dropout)
        self.encoder = encoder
        self.start = nn.Parameter(torch.randn(width) * width**-0.5)  # who has no history
        self.gap = Gap(width)
        self.user = Fields(schema.user, width)
        self.context = Fields(schema.context, width)
        self.calibration = Calibration() if schema.exposures else None

    def states(self, history: History) -> Tensor:
        """[T, D], after each event; it depends on no later one."""
        if (longest := int(history.lengths.max())) > self.schema.history:
            raise ValueError(f"a row of {longest} events; the model reads {self.schema.history}")
        events = self.items(history.features["item"])
        events = events + self.event(history.features, len(events)).sum(1)
        # Scaled by sqrt(D), as in SASRec: normalisation then leaves room for what blocks add.
        return self.encoder(self.dropout(events * events.shape[1] ** 0.5), history)

    def encode(self, batch: Batch) -> Tensor:
        """[N, D], of length 1; the candidates' own items are not read."""
        return self._requests(self.states(batch.history), batch)

    def item_vectors(self) -> Tensor:
        """[V, D], of length 1."""
        return self.items.unit_table()

    def score(self, batch: Batch) -> Tensor:
        """[N], a logit of the first label where there are exposures, of the next item elsewhere."""
        return self._score(self.encode(batch), batch)

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of the items acted on; where there are exposures, of each answer too."""
        request = self.encode(batch)
        label = batch.candidates.labels[self.schema.label]
        acted = (label > 0).nonzero()[:, 0]
        target = batch.candidates.features["item"][acted]
        loss = retrieval_loss(self.objective, request[acted], target, self.items)
        if self.calibration is None:
            return loss
        logit = self._score(request, batch)
        return loss + F.binary_cross_entropy_with_logits(logit, label)

    def cost(self, history: int, candidates: int) -> Cost:
        """The history is encoded once; a candidate adds one dot product."""
        width = self.encoder.width
        return cost(self, self.encoder.flops(history) + 2 * candidates * width)

    def _requests(self, states: Tensor, batch: Batch) -> Tensor:
        """states [T, D] -> [N, D], what each candidate's request is looking for."""
        ahead = batch.candidates
        row = jagged.owner(ahead.offsets)
        seen = jagged.newest(states, self.start, batch.history.offsets, row, ahead.prefix)
        user = self.user(batch.user, len(batch.history.lengths)).sum(1)[row]
        context = self.context(ahead.features, len(row)).sum(1)
        return F.normalize(seen + self.gap(batch, row) + user + context, dim=-1)

    def _score(self, request: Tensor, batch: Batch) -> Tensor:
        cosine = (request * self.items.unit(batch.candidates.features["item"])).sum(-1)
        if self.calibration is None:
            return cosine / self.objective.temperature
        return self.calibration(cosine)
