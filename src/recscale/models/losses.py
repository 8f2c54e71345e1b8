"""Training objectives that more than one model shares."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from recscale.configfile import Settings
from recscale.models import ranks
from recscale.models.contrast import contrast
from recscale.models.items import Items
from recscale.models.settings import Count, Fraction, Positive
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


class MixedSoftmax(Settings):
    """Uniform negatives and targets of the batch, each weighed by how often it is drawn.

    A rival counts 1 / (expected draws), so that the sum over rivals estimates that over all items
    (logQ correction: Bengio & Senecal 2008, eq. 6). The positive is not drawn and not corrected.
    """

    kind: Literal["mixed"] = "mixed"
    uniform: int = Field(default=256, ge=0)
    in_batch: int = Field(default=256, ge=0)  # drawn from the batch's targets, so by popularity
    temperature: Positive = 0.05

    @model_validator(mode="after")
    def _draws_something(self) -> Self:
        if self.uniform + self.in_batch == 0:
            raise ValueError("uniform and in_batch are both 0: nothing to compete with")
        return self


class CalibratedBinary(Settings):
    """Each item is a yes or a no: gBCE (Petrov & Macdonald 2023, eq. 8), uniform shared negatives.

    At calibration 0 it is plain binary cross-entropy, whose scores are too sure of themselves by as
    much as negatives are fewer than items; at 1 that is taken back in full.
    """

    kind: Literal["gbce"] = "gbce"
    negatives: Count = 256
    calibration: Fraction = 0.75
    temperature: Positive = 0.05


AnyObjective = FullSoftmax | SampledSoftmax | MixedSoftmax | CalibratedBinary
Objective = Annotated[AnyObjective, Field(discriminator="kind")]


def retrieval_loss(objective: AnyObjective, query: Tensor, target: Tensor, items: Items) -> Tensor:
    """Cross-entropy of target items [P] for unit queries [P, D], by cosine over temperature: [].

    The mean is over the targets of all processes.
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
        case MixedSoftmax():
            loss = mixed_softmax(objective, query, target, items)
        case CalibratedBinary():
            negatives = draw(objective.negatives, items.num_items, target.device)
            loss = calibrated_binary(objective.calibration, query, target, negatives, items)
    return ranks.mean_of(loss, len(target))


def answer_loss(logit: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy of answers, logit and label [N], over the answers of all processes: []."""
    return ranks.mean(F.binary_cross_entropy_with_logits(logit, label, reduction="none"))


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


def mixed_softmax(objective: MixedSoftmax, query: Tensor, target: Tensor, items: Items) -> Tensor:
    """query [P, D], target [P] -> [], summed over queries."""
    uniform = draw(objective.uniform, items.num_items, target.device)
    # Without targets nothing competes, but the tables are read: other processes wait for this one.
    in_batch = objective.in_batch if len(target) else 0
    place = torch.randint(max(len(target), 1), (in_batch,), device=target.device)
    negatives = torch.cat([uniform, target[place]])
    vectors = items.unit(torch.cat([target, negatives]))
    positives, rivals = vectors.split([len(target), len(negatives)])
    own = (query * positives).sum(-1)
    shift = -expected_draws(objective, negatives, items).log()
    return contrast(query, own, rivals, shift.to(query.dtype), target, negatives)


def expected_draws(objective: MixedSoftmax, ids: Tensor, items: Items) -> Tensor:
    """[M] -> [M], how often a batch draws each item."""
    uniform = objective.uniform / (items.num_items - FIRST_REAL)
    return uniform + objective.in_batch * items.share[ids]


def calibrated_binary(
    calibration: float, query: Tensor, target: Tensor, negatives: Tensor, items: Items
) -> Tensor:
    """query [P, D], target [P], negatives [M] -> [], summed over queries."""
    vectors = items.unit(torch.cat([target, negatives]))
    positives, rivals = vectors.split([len(target), len(negatives)])
    own = (query * positives).sum(-1)
    collision = target[:, None] == negatives
    no = F.softplus((query @ rivals.T).masked_fill(collision, -torch.inf)).sum()
    rate = min(1.0, len(negatives) / (items.num_items - FIRST_REAL - 1))
    weight = rate * (calibration * (1 - 1 / rate) + 1 / rate)  # beta of eq. 8
    return weight * F.softplus(-own).sum() + no


def draw(count: int, num_items: int, device: torch.device) -> Tensor:
    """[count] uniform real items, from torch's global generator, so that a resumed run is exact."""
    return torch.randint(FIRST_REAL, num_items, (count,), device=device)
