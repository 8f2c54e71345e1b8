"""What a model costs, counted from the shapes of its parts.

FLOPs are those of matrix products, two for each multiply-add: what PyTorch's FlopCounterMode sees.
Element-wise work is left out.
"""

from __future__ import annotations

from torch import nn

from recscale.models.embedding import Bags, Tables
from recscale.types import Cost


def linear_flops(module: nn.Module, rows: int) -> int:
    """One pass of `rows` rows through every linear layer of `module`."""
    layers = (part for part in module.modules() if isinstance(part, nn.Linear))
    return sum(2 * rows * layer.in_features * layer.out_features for layer in layers)


def cost(model: nn.Module, flops: int) -> Cost:
    """Embedding parameters are those of vocabularies; every other one is dense."""
    tables = (part for part in model.modules() if isinstance(part, (Tables, Bags)))
    embedding = sum(weight.numel() for table in tables for weight in table.parameters())
    total = sum(weight.numel() for weight in model.parameters())
    return Cost(total - embedding, embedding, flops)
