"""What a training row costs, counted from the operations it runs."""

from __future__ import annotations

from itertools import islice

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from recscale.evaluation.inference import device_of
from recscale.features.batches import Loader
from recscale.types import Ranker

SAMPLE = 4  # batches whose FLOPs stand for all


def row_flops(model: Ranker, loader: Loader) -> float:
    """Forward and backward FLOPs of a training row, loss and negatives included.

    Counted by torch's FLOP counter on the first batches of an epoch, padded as in training.
    """
    assert isinstance(model, nn.Module)
    counter, rows = FlopCounterMode(display=False), 0
    device = device_of(model)
    # The counter sees attention only where it is written as two products.
    with torch.random.fork_rng(), sdpa_kernel(SDPBackend.MATH), counter:
        for batch in islice(iter(loader), SAMPLE):
            model.loss(batch.to(device)).backward()
            rows += len(batch.history.offsets) - 1
    model.zero_grad(set_to_none=True)
    return counter.get_total_flops() / rows
