"""What click models share: their loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from recscale.models import ranks
from recscale.models.losses import answer_loss, draw
from recscale.types import Batch, Schema


def click_loss(
    score: Callable[[Batch], Tensor], batch: Batch, schema: Schema, negatives: int
) -> Tensor:
    """Cross-entropy of every answer, or, in a log without exposures, of every choice: [].

    Without exposures nobody said no. Each positive is then told from uniform `negatives` at its own
    moment by a softmax: the objective of the generative models, so that the two families differ in
    what they read and not in what they are asked. Binary cross-entropy on drawn negatives would
    calibrate to the drawing.
    """
    if schema.exposures:
        label = batch.candidates.labels[schema.label]
        return answer_loss(score(batch), label)
    drawn = with_negatives(batch, negatives, schema.num_items)
    items = drawn.candidates.features["item"].view(-1, 1 + negatives)
    collision = items == items[:, :1]
    collision[:, 0] = False
    logits = score(drawn).view_as(items).masked_fill(collision, -torch.inf)
    return ranks.mean(-logits.log_softmax(dim=1)[:, 0])


def with_negatives(batch: Batch, negatives: int, num_items: int) -> Batch:
    """Each candidate followed by `negatives` other items, in the same request."""
    ahead = batch.candidates
    item = ahead.features["item"]
    drawn = draw(len(item) * negatives, num_items, item.device).view(-1, negatives)
    return replace(
        batch,
        candidates=replace(
            ahead,
            features={
                name: values.repeat_interleave(1 + negatives)
                for name, values in ahead.features.items()
            }
            | {"item": torch.cat([item[:, None], drawn], dim=1).flatten()},
            time=ahead.time.repeat_interleave(1 + negatives),
            prefix=ahead.prefix.repeat_interleave(1 + negatives),
            labels={},
            offsets=ahead.offsets * (1 + negatives),
        ),
    )
