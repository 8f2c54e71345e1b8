"""The deep part that click models and the generative models' answers share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

HIDDEN = (128, 64)  # layers by default: small enough for a laptop


def tower(inputs: int, hidden: Sequence[int], dropout: float) -> nn.Sequential:
    """Linear layers with ReLU: [..., inputs] -> [..., hidden[-1]]."""
    layers: list[nn.Module] = []
    for outputs in hidden:
        layers += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(dropout)]
        inputs = outputs
    return nn.Sequential(*layers)
