"""The deep part that click models and the generative models' answers share."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from recscale.models.counting import linear_flops

HIDDEN = (128, 64)  # layers by default: small enough for a laptop


def tower(inputs: int, hidden: Sequence[int], dropout: float) -> nn.Sequential:
    """Linear layers with ReLU: [..., inputs] -> [..., hidden[-1]]."""
    layers: list[nn.Module] = []
    for outputs in hidden:
        layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout)]
        inputs = outputs
    return nn.Sequential(*layers)


def linear(layer: nn.Linear, own: Tensor, shared: Tensor, row: Tensor) -> Tensor:
    """own [N, I], shared [B, S], row [N] -> layer([own, shared[row]]), without building that.

    What the candidates of a row share passes its part of the layer once a row.
    """
    of_own, of_shared = layer.weight.split([own.shape[1], shared.shape[1]], dim=1)
    once = F.linear(shared, of_shared, layer.bias).index_select(0, row)
    return once + F.linear(own, of_own)


def first_layer(layers: nn.Sequential, own: Tensor, shared: Tensor, row: Tensor) -> Tensor:
    """`linear` of a tower's first layer; the tower goes on with layers[1:]."""
    first = layers[0]
    assert isinstance(first, nn.Linear)
    return linear(first, own, shared, row)


def tower_flops(layers: nn.Sequential, shared: int, candidates: int) -> int:
    """One request through a tower whose first layer shares that many inputs."""
    first = layers[0]
    assert isinstance(first, nn.Linear)
    saved = 2 * (candidates - 1) * shared * first.out_features
    return linear_flops(layers, candidates) - saved
