"""What a training row costs, counted from the operations it runs."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from recscale.features.batches import assemble
from recscale.features.requests import Rows
from recscale.features.store import Store
from recscale.types import Ranker

SAMPLE = 64  # training rows whose FLOPs stand for all


def row_flops(model: Ranker, store: Store, rows: Rows) -> float:
    """Forward and backward FLOPs of a training row, loss and negatives included.

    Counted by torch's FLOP counter on a sample of rows, so the mean length is the log's own.
    """
    assert isinstance(model, nn.Module)
    chosen = np.random.default_rng(0).permutation(len(rows))[:SAMPLE]
    counter = FlopCounterMode(display=False)
    with torch.random.fork_rng(), counter:
        model.loss(assemble(store, rows, chosen)).backward()
    model.zero_grad(set_to_none=True)
    return counter.get_total_flops() / len(chosen)
