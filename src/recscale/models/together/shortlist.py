"""Generate, then rank: a retriever's best items, put in order by another model."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recscale.configfile import Settings
from recscale.models.counting import cost
from recscale.models.settings import Count
from recscale.models.together.member import Member
from recscale.types import UNSEEN, Batch, Cost, Ranker, Retriever, Schema

FIRST_REAL = UNSEEN + 1


class ShortlistConfig(Settings):
    """How many items the second model has time for: `recscale latency` measures what they cost."""

    name: Literal["shortlist"] = "shortlist"
    keep: Count = 200


class Shortlist(nn.Module):
    """Ranks the whole catalogue; items beyond the first `keep` stand below, in retrieval's order.

    Where there are exposures, what was shown had been retrieved already: its score is the second
    model's alone.
    """

    def __init__(
        self, config: ShortlistConfig, schema: Schema, retriever: Retriever, ranker: Ranker
    ) -> None:
        super().__init__()
        self.schema = schema
        self.keep = min(config.keep, schema.num_items - FIRST_REAL)
        self.retriever, self.ranker = Member(retriever), Member(ranker)

    def score(self, batch: Batch) -> Tensor:
        """[N], the same as in `score_all`, or the second model's logit."""
        ranked = self.ranker.score(batch)
        if self.schema.exposures:
            return ranked
        # Candidates of one request stand together: the catalogue is searched once for them all.
        request, of = self.retriever.ranker.encode(batch).unique_consecutive(
            dim=0, return_inverse=True
        )
        retrieved = self._retrieved(request)
        own = retrieved[of, batch.candidates.features["item"]]
        inside = own >= retrieved.topk(self.keep).values[of, -1]
        return torch.where(inside, _above(ranked), F.softsign(own))

    def score_all(self, batch: Batch) -> Tensor:
        """[N, V], every item for the request of each candidate; reserved ids are last."""
        retrieved = self._retrieved(self.retriever.ranker.encode(batch))
        best = retrieved.topk(self.keep).indices  # [N, n]
        ranked = self.ranker.score(with_items(batch, best)).view_as(best)
        return F.softsign(retrieved).scatter(1, best, _above(ranked))

    def loss(self, batch: Batch) -> Tensor:
        """Zero: there is nothing left to train."""
        return torch.zeros((), device=batch.candidates.time.device)

    def cost(self, history: int, candidates: int) -> Cost:  # noqa: ARG002
        """A request searches the catalogue and ranks `keep`, however many candidates it names."""
        once = self.retriever.ranker.cost(history, 0).flops_per_request
        search = 2 * self.retriever.ranker.item_vectors().numel()
        return cost(
            self, once + search + self.ranker.ranker.cost(history, self.keep).flops_per_request
        )

    def _retrieved(self, request: Tensor) -> Tensor:
        """[R, D] -> [R, V]; reserved ids lie below every item."""
        found = request @ self.retriever.ranker.item_vectors().T
        found[:, :FIRST_REAL] = torch.finfo(found.dtype).min
        return found


def _above(score: Tensor) -> Tensor:
    """In the same order, and above what softsign gives to any number."""
    return 2 + F.softsign(score)


def with_items(batch: Batch, items: Tensor) -> Batch:
    """items [N, n] -> each candidate replaced by n others in the same request."""
    ahead, count = batch.candidates, items.shape[1]
    features = {name: value.repeat_interleave(count) for name, value in ahead.features.items()}
    return replace(
        batch,
        candidates=replace(
            ahead,
            features=features | {"item": items.flatten()},
            time=ahead.time.repeat_interleave(count),
            prefix=ahead.prefix.repeat_interleave(count),
            labels={},
            offsets=ahead.offsets * count,
        ),
    )
