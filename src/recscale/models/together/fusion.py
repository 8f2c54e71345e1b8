"""Late fusion: a weighted sum of what several models say of a candidate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from recscale.configfile import Settings
from recscale.models import jagged
from recscale.models.clock import BUCKETS, age_seconds, bucket
from recscale.models.counting import cost, linear_flops
from recscale.models.ctr.clicks import click_loss
from recscale.models.settings import Count
from recscale.models.together.member import Member
from recscale.types import Batch, Cost, Ranker, Schema

FEATURES = 3  # of a request: see request_features


class FusionConfig(Settings):
    """One weight a member, the same for every request."""

    name: Literal["fusion"] = "fusion"
    negatives: Count = 32  # a positive, in a log without exposures


class GateConfig(Settings):
    """Weights that depend on the request: its history's length, its gap, how the user explores."""

    name: Literal["gate"] = "gate"
    negatives: Count = 32


class Constant(nn.Module):
    """The same weights for every request."""

    def __init__(self, members: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((members,), 1 / members))

    def forward(self, batch: Batch) -> Tensor:  # noqa: ARG002
        """[M], broadcast over candidates."""
        return self.weight


class ByRequest(nn.Module):
    """Weights linear in what is known of a request; at the start the same for every one."""

    def __init__(self, members: int, schema: Schema) -> None:
        super().__init__()
        self.schema = schema
        self.weight = nn.Linear(FEATURES, members)
        nn.init.zeros_(self.weight.weight)
        nn.init.constant_(self.weight.bias, 1 / members)

    def forward(self, batch: Batch) -> Tensor:
        """[N, M]."""
        return self.weight(request_features(batch, self.schema))


class Fusion(nn.Module):
    """score = sum_m w_m score_m (+ b, where the score is a click's logit).

    Logistic regression on the members' logits where there are exposures; elsewhere a conditional
    logit (McFadden 1974) on their scores of what was chosen and of drawn alternatives. Both are
    convex. Tested against scikit-learn in tests/models/test_together.py.
    """

    def __init__(
        self,
        weights: Constant | ByRequest,
        negatives: int,
        schema: Schema,
        members: Sequence[Ranker],
    ) -> None:
        super().__init__()
        self.schema = schema
        self.negatives = negatives
        self.members = nn.ModuleList(Member(member) for member in members)
        self.weights = weights
        self.bias = nn.Parameter(torch.zeros(())) if schema.exposures else None

    def score(self, batch: Batch) -> Tensor:
        """[N]."""
        said = torch.stack([member.score(batch) for member in self._members()], dim=1)  # [N, M]
        fused = (said * self.weights(batch)).sum(1)
        return fused if self.bias is None else fused + self.bias

    def loss(self, batch: Batch) -> Tensor:
        """See click_loss."""
        return click_loss(self.score, batch, self.schema, self.negatives)

    def cost(self, history: int, candidates: int) -> Cost:
        """Every member, and the gate's weights."""
        parts = [member.ranker.cost(history, candidates) for member in self._members()]
        flops = sum(part.flops_per_request for part in parts)
        return cost(self, flops + linear_flops(self.weights, candidates))

    def _members(self) -> list[Member[Ranker]]:
        return cast(list[Member[Ranker]], list(self.members))


def request_features(batch: Batch, schema: Schema) -> Tensor:
    """[N, 3], each in [0, 1]: how long the history is, how old its end, how much of it was new.

    Nothing of the candidate's item is read: all candidates of a request get the same weights.
    """
    past, ahead = batch.history, batch.candidates
    row = jagged.owner(ahead.offsets)
    length = (ahead.prefix.float() / schema.history).clamp(max=1).sqrt()
    last = jagged.newest(past.time, past.time.new_zeros(()), past.offsets, row, ahead.prefix)
    age = bucket(age_seconds(ahead.time, last)).float() / BUCKETS
    age = torch.where(ahead.prefix > 0, age, torch.ones_like(age))
    share = jagged.running_mean(first_times(batch).float()[:, None], past.offsets)
    exploring = jagged.newest(share, share.new_ones(1), past.offsets, row, ahead.prefix)[:, 0]
    return torch.stack([length, age, exploring], dim=1)


def first_times(batch: Batch) -> Tensor:
    """[T] bool: the event's item does not occur earlier in its row."""
    past = batch.history
    owner, item = jagged.owner(past.offsets), past.features["item"]
    if not len(item):
        return item > 0
    pair = owner * (int(item.max()) + 1) + item
    ordered, order = pair.sort(stable=True)
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[1:] = ordered[1:] != ordered[:-1]
    return torch.zeros_like(new).index_copy(0, order, new)
