"""What a model costs, counted from the shapes of its parts.

FLOPs are those of matrix products, two for each multiply-add: what PyTorch's FlopCounterMode sees.
Element-wise work is left out.
"""

from __future__ import annotations

from torch import nn

from recscale.models.embedding import Bags, Tables
from recscale.types import Cost

ITEM_TABLE = ".item.weight"  # how TorchRec's state ends for the table of item ids


def linear_flops(module: nn.Module, rows: int) -> int:
    """One pass of `rows` rows through every linear layer of `module`."""
    layers = (part for part in module.modules() if isinstance(part, nn.Linear))
    return sum(2 * rows * layer.in_features * layer.out_features for layer in layers)


def parameter_groups(model: nn.Module) -> dict[str, int]:
    """Parameters in four groups: which of them a scaling law counts decides what it says.

    The item table and the other tables are those of vocabularies; matrices are all other weights
    with two dimensions or more, scalars the rest (biases, norms, decay shares).
    """
    groups = {"item_table": 0, "other_tables": 0, "matrix": 0, "scalars": 0}
    tables = [part for part in model.modules() if isinstance(part, (Tables, Bags))]
    of_items = {id(w) for t in tables for n, w in t.named_parameters() if n.endswith(ITEM_TABLE)}
    of_tables = {id(weight) for table in tables for weight in table.parameters()}
    for weight in model.parameters():
        if id(weight) in of_tables:
            group = "item_table" if id(weight) in of_items else "other_tables"
        else:
            group = "matrix" if weight.dim() > 1 else "scalars"
        groups[group] += weight.numel()
    return groups


def cost(model: nn.Module, flops: int) -> Cost:
    """Embedding parameters are those of vocabularies; every other one is dense."""
    tables = (part for part in model.modules() if isinstance(part, (Tables, Bags)))
    embedding = sum(weight.numel() for table in tables for weight in table.parameters())
    total = sum(weight.numel() for weight in model.parameters())
    return Cost(total - embedding, embedding, flops)
