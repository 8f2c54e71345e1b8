"""A click model that reads what a generative model knows: item vectors, user state, their match."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from recscale.configfile import Settings
from recscale.models.counting import cost
from recscale.models.ctr.clicks import click_loss
from recscale.models.ctr.dcnv2 import DCNv2Config
from recscale.models.ctr.din import DINConfig
from recscale.models.together.member import Member
from recscale.types import Batch, Catalogue, Cost, Feature, Ranker, Retriever, Schema

KNOWN, STATE, MATCH = "generative_item", "generative_state", "generative_match"
BuildRanker = Callable[[Schema, Catalogue], Ranker]


class InformedConfig(Settings):
    """The click model that reads them."""

    name: Literal["informed"] = "informed"
    ranker: Annotated[DINConfig | DCNv2Config, Field(discriminator="name")]


class Informed(nn.Module):
    """The member's item vectors become an item feature, its state and cosine features of a request.

    Frozen, as GPSD freezes the item vectors that it transfers (Wang et al. 2025).
    """

    def __init__(
        self,
        config: InformedConfig,
        schema: Schema,
        catalogue: Catalogue,
        build: BuildRanker,
        generator: Retriever,
    ) -> None:
        super().__init__()
        self.schema = schema
        self.negatives = config.ranker.negatives
        self.width = config.ranker.width
        self.generator = Member(generator)
        vectors = self._vectors()
        size = vectors.shape[1]
        self.scale = size**0.5  # numbers near 1: a unit vector's are near 1 / sqrt(D)
        single = {**catalogue.single, KNOWN: vectors * self.scale}
        self.ranker = build(_extended(schema, size), replace(catalogue, single=single))

    def score(self, batch: Batch) -> Tensor:
        """[N], the click model's."""
        return self.ranker.score(self._informed(batch))

    def loss(self, batch: Batch) -> Tensor:
        """See click_loss: the match of a drawn item is its own."""
        return click_loss(self.score, batch, self.schema, self.negatives)

    def cost(self, history: int, candidates: int) -> Cost:
        """Both models, and the products that bring D numbers to the click model's width."""
        generator = self.generator.ranker.cost(history, 0).flops_per_request
        vectors, size = self._vectors().shape
        items = min(history, vectors) + min(candidates, vectors)
        projected = 2 * size * self.width * (items + history + candidates)
        own = self.ranker.cost(history, candidates).flops_per_request
        return cost(self, generator + own + projected)

    @torch.no_grad()
    def _vectors(self) -> Tensor:
        """[V, D], of length 1."""
        return F.normalize(self.generator.ranker.item_vectors(), dim=-1)

    @torch.no_grad()
    def _informed(self, batch: Batch) -> Batch:
        past, ahead = batch.history, batch.candidates
        state = self.generator.ranker.encode(batch)
        items = self._vectors()[ahead.features["item"]]
        match = (state * items).sum(1) * self.scale
        asked = {**ahead.features, STATE: state * self.scale, MATCH: match}
        # Of the past only the events are told: a state after each would say what came of it.
        nothing = {STATE: state.new_zeros(len(past.time), state.shape[1])}
        nothing[MATCH] = state.new_zeros(len(past.time))
        return replace(
            batch,
            history=replace(past, features={**past.features, **nothing}),
            candidates=replace(ahead, features=asked),
        )


def _extended(schema: Schema, size: int) -> Schema:
    """What the click model is told that it may read."""
    known = Feature(KNOWN, "vector", size)
    state = (Feature(STATE, "vector", size), Feature(MATCH, "numeric", 1))
    return replace(schema, item=(*schema.item, known), context=(*schema.context, *state))
