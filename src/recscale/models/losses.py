"""Training objectives that more than one model shares."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from recscale.configfile import Settings
from recscale.models.contrast import contrast
from recscale.models.items import Items
from recscale.models.settings import Count, Positive
from recscale.types import UNSEEN

FIRST_REAL = UNSEEN + 1


class FullSoftmax(Settings):
    """Every item competes with the positive: exact, for up to some ten thousand items."""

    kind: Literal["full"] = "full"
    temperature: Positive = 0.05


class SampledSoftmax(Settings):
    """Uniform negatives shared by the whole batch; an item never competes with itself.

    Sharing makes the negatives one matrix product, some fifteen times cheaper than drawing as many
    for each position, at any number of items.
    """

    kind: Literal["sampled"] = "sampled"
    negatives: Count = 512
    temperature: Positive = 0.05


Objective = Annotated[FullSoftmax | SampledSoftmax, Field(discriminator="kind")]


def retrieval_loss(
    objective: FullSoftmax | SampledSoftmax, query: Tensor, target: Tensor, items: Items
) -> Tensor:
    """Cross-entropy of target items [P] for unit queries [P, D], by cosine over temperature: [].

    Only real items compete. A target that the vocabulary left out has no place among them and is
    ignored; a batch without targets costs 0.
    """
    real = target >= FIRST_REAL
    query, target = query[real] / objective.temperature, target[real]
    match objective:
        case FullSoftmax():
            loss = full_softmax(query, target, items.unit_table())
        case SampledSoftmax():
            negatives = draw(objective.negatives, items.num_items, target.device)
            loss = sampled_softmax(query, target, negatives, items)
    return loss / max(len(target), 1)


def full_softmax(query: Tensor, target: Tensor, table: Tensor) -> Tensor:
    """query [P, D], target [P], table [V, D] -> [], summed over queries."""
    own = (query * table.index_select(0, target)).sum(-1)
    ids = torch.arange(FIRST_REAL, len(table), device=target.device)
    shift = query.new_zeros(len(ids))
    return contrast(query, own, table[FIRST_REAL:], shift, target, ids)


def sampled_softmax(query: Tensor, target: Tensor, negatives: Tensor, items: Items) -> Tensor:
    """query [P, D], target [P], negatives [M] -> [], summed over queries."""
    vectors = items.unit(torch.cat([target, negatives]))
    positives, rivals = vectors.split([len(target), len(negatives)])
    own = (query * positives).sum(-1)
    return contrast(query, own, rivals, query.new_zeros(len(negatives)), target, negatives)


def draw(count: int, num_items: int, device: torch.device) -> Tensor:
    """[count] uniform real items, from torch's global generator, so that a resumed run is exact."""
    return torch.randint(FIRST_REAL, num_items, (count,), device=device)
