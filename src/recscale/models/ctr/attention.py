"""How much each past event matters to each candidate: DIN's unit, worked out by the tile."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AttentionUnit(nn.Module):
    """A net over [c, p, c - p, c * p] of candidate c and event p (Zhou et al. 2018, figure 2).

    ReLU in place of the paper's Dice, whose batch statistics let a score depend on its neighbours.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.first = nn.Linear(4 * width, hidden)
        self.last = nn.Linear(hidden, 1)

    def forward(self, candidate: Tensor, past: Tensor) -> Tensor:
        """candidate [R, C, D], past [R, L, D] -> [R, C, L].

        The first layer is linear, so for one candidate it is one matrix over p, and nothing of size
        [R, C, L, 4 D] is built.
        """
        own, event, difference, product = self.first.weight.chunk(4, dim=1)  # each [A, D]
        alone = F.linear(candidate, own + difference, self.first.bias)  # [R, C, A]
        parts = (candidate, past, alone, event - difference, product, self.last.weight[0])
        # In single precision: the products below do not mix types, and sums run over thousands.
        weight = cast(Tensor, Pairs.apply(*(part.float() for part in parts)))
        return (weight + self.last.bias).mT

    def flops(self, history: int, candidates: int) -> int:
        """Every pair costs its row of the first layer and the last one."""
        hidden, width = self.first.out_features, self.first.in_features // 4
        return 2 * candidates * hidden * (history * (width + 1) + width)


class Pairs(torch.autograd.Function):
    """last . relu(alone + (event + product * candidate) past), for every pair of a tile.

    PyTorch's own gradient sums over the middle of [R, L, C, A] and [R, C, A, D] for what the tile's
    rows share, and took a third of a training step: here those sums are products with ones.
    """

    @staticmethod
    def forward(  # noqa: PLR0913, one argument for each part of the formula
        ctx: Any,
        candidate: Tensor,
        past: Tensor,
        alone: Tensor,
        event: Tensor,
        product: Tensor,
        last: Tensor,
    ) -> Tensor:
        """[R, C, D], [R, L, D], [R, C, A], [A, D], [A, D], [A] -> [R, L, C]."""
        with torch.autocast(past.device.type, enabled=False):
            over_past = torch.addcmul(event, candidate[:, :, None], product).flatten(1, 2)
            hidden = torch.baddbmm(alone.flatten(1)[:, None], past, over_past.mT).relu_()
            weight = hidden.view(-1, len(last)) @ last[:, None]
        ctx.save_for_backward(candidate, past, product, last, over_past, hidden)
        return weight.view(*past.shape[:2], candidate.shape[1])

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, ...]:
        """[R, L, C] -> the gradient of each argument of `forward`."""
        candidate, past, product, last, over_past, hidden = ctx.saved_tensors
        grad = grad_outputs[0].reshape(-1)  # [R * L * C]
        units, width = product.shape
        matrices = candidate.shape[1], units  # sizes spelt out: a tile may have no rows
        by_last = grad @ hidden.view(-1, units)
        active = torch.outer(grad, last).view_as(hidden)
        active = torch.ops.aten.threshold_backward(active, hidden, 0)  # where ReLU let it through
        by_past = active @ over_past  # [R, L, D]
        by_matrix = (active.mT @ past).unflatten(1, matrices)  # [R, C, A, D]
        by_alone = (_ones(active, active.shape[1]) @ active).unflatten(2, matrices)[:, 0]
        flat = by_matrix.reshape(len(candidate) * matrices[0], units * width)
        total = flat.new_ones(len(flat))
        by_event = total @ flat
        by_product = total @ (by_matrix * candidate[:, :, None]).view_as(flat)
        by_candidate = (by_matrix * product).flatten(0, 1)
        by_candidate = (_ones(by_candidate, units) @ by_candidate).view_as(candidate)
        shared = (by_event.view_as(product), by_product.view_as(product), by_last)
        return by_candidate, by_past, by_alone, *shared


def _ones(like: Tensor, length: int) -> Tensor:
    """[len(like), 1, length]; laid out in full, since a view of one number is multiplied slowly."""
    return like.new_ones(len(like), 1, length)
