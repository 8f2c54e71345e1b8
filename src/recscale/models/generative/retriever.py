"""What generative models share: events in, a vector of what comes next out."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recscale.models import jagged
from recscale.models.clock import Gap
from recscale.models.counting import cost, linear_flops
from recscale.models.fields import Fields
from recscale.models.generative.hstu import HSTU
from recscale.models.generative.linear import LinearState
from recscale.models.generative.mixer import Mixer
from recscale.models.generative.transformer import Transformer
from recscale.models.items import Items
from recscale.models.losses import AnyObjective, answer_loss, retrieval_loss
from recscale.models.tower import HIDDEN, tower
from recscale.types import Batch, Catalogue, Cost, History, Schema

Encoder = HSTU | Transformer | Mixer | LinearState


class Answer(nn.Module):
    """Will the user act on what was shown? Another question than what they act on next.

    What is shown was chosen by some recommender, so the next item's softmax does not answer it. The
    tower is that of the click models, over the request, the item, and their product.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.tower = tower(3 * width, HIDDEN, dropout)
        self.output = nn.Linear(HIDDEN[-1], 1)

    def forward(self, request: Tensor, item: Tensor) -> Tensor:
        """request, item [N, D], each of length 1 -> [N] logits."""
        size = request.shape[1] ** 0.5  # numbers near 1: else the item is lost beside the state
        request, item = request * size, item * size
        return self.output(self.tower(torch.cat([request, item, request * item], dim=1)))[:, 0]


class Generative(nn.Module):
    """Retrieves items by their cosine with the state that the user's visible history ends in.

    Row clocks inside the encoder are the events' own times, so that a state can be kept and used
    again. What the request adds (its clock, its context, the user) enters after the encoder.
    """

    def __init__(
        self,
        encoder: Encoder,
        objective: AnyObjective,
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
        self.answer = Answer(width, dropout) if schema.exposures else None

    def states(self, history: History) -> Tensor:
        """[T, D], after each event; it depends on no later one."""
        if (longest := int(history.lengths.max())) > self.schema.history:
            raise ValueError(f"a row of {longest} events; the model reads {self.schema.history}")
        return self.encoder(self.dropout(self.events(history)), history)

    def events(self, history: History) -> Tensor:
        """[T, D], what the encoder reads of each event alone."""
        events = self.items(history.features["item"])
        events = events + self.event(history.features, len(events)).sum(1)
        # Scaled by sqrt(D), as in SASRec: normalisation then leaves room for what blocks add.
        return events * events.shape[1] ** 0.5

    def encode(self, batch: Batch) -> Tensor:
        """[N, D], of length 1; the candidates' own items are not read."""
        return self.ask(self.states(self.encoder.forgetting.reads(batch)), batch)

    def ask(self, states: Tensor, batch: Batch) -> Tensor:
        """states [T, D] -> [N, D]: what the visible history ends in, and what a request adds.

        Of the history only the clocks are read, so states may have been kept from before.
        """
        ahead = batch.candidates
        row = jagged.owner(ahead.offsets)
        seen = jagged.newest(states, self.start, batch.history.offsets, row, ahead.prefix)
        user = self.user(batch.user, len(batch.history.lengths)).sum(1)[row]
        context = self.context(ahead.features, len(row)).sum(1)
        return F.normalize(seen + self.gap(batch, row) + user + context, dim=-1)

    def item_vectors(self) -> Tensor:
        """[V, D], cosines over the temperature: with `encode`, logits of what comes next."""
        return self.items.unit_table() / self.objective.temperature

    def score(self, batch: Batch) -> Tensor:
        """[N], a logit of the first label where there are exposures, of the next item elsewhere."""
        return self.rate(self.encode(batch), batch.candidates.features["item"])

    def rate(self, request: Tensor, item: Tensor) -> Tensor:
        """request [N, D], item [N] ids -> [N], the scores."""
        items = self.items.unit(item)
        if self.answer is not None:
            return self.answer(request, items)
        return (request * items).sum(-1) / self.objective.temperature

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of the items acted on; where there are exposures, of each answer too."""
        request = self.encode(batch)
        label = batch.candidates.labels[self.schema.label]
        items = batch.candidates.features["item"]
        acted = (label > 0).nonzero()[:, 0]
        loss = retrieval_loss(self.objective, request[acted], items[acted], self.items)
        loss = loss + self.encoder.forgetting.penalty()
        if self.answer is None:
            return loss
        logit = self.answer(request, self.items.unit(items))
        return loss + answer_loss(logit, label)

    def cost(self, history: int, candidates: int) -> Cost:
        """The history is encoded once; a candidate adds one dot product, or one answer."""
        once = self.encoder.flops(history)
        if self.answer is None:
            return cost(self, once + 2 * candidates * self.encoder.width)
        return cost(self, once + linear_flops(self.answer, candidates))
