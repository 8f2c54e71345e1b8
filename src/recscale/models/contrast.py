"""The softmax of one positive against many rivals, without ever holding all its logits."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

LOGITS = 2**18  # at once: 1 MB, within a cache


def contrast(
    query: Tensor, own: Tensor, rivals: Tensor, shift: Tensor, target: Tensor, ids: Tensor
) -> Tensor:
    """Sum over P queries of -log softmax of the positive among itself and M rivals: [].

    query [P, D], own [P] the logit of each positive, rivals [M, D], shift [M] added to their
    logits, target [P], ids [M]: a rival with the positive's id does not compete with it.
    """
    # A softmax over many rivals wants all the bits that its inputs still have.
    with torch.autocast(query.device.type, enabled=False):
        return cast(Tensor, Contrast.apply(query, own, rivals, shift, target, ids))


class Contrast(torch.autograd.Function):
    """Gradients are found beside the loss, while a piece of the logits is in cache."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, own: Tensor, rivals: Tensor, *constants: Tensor) -> Tensor:
        """As `contrast`; constants are shift, target and ids."""
        shift, target, ids = constants
        total = own.new_zeros(())
        d_query, d_own = torch.empty_like(query), torch.empty_like(own)
        d_rivals = torch.zeros_like(rivals)
        size = max(1, LOGITS // max(1, len(ids)))
        for first in range(0, len(query), size):
            part = slice(first, first + size)
            logits = torch.addmm(shift, query[part], rivals.T)
            logits.masked_fill_(target[part, None] == ids, -torch.inf)
            top = torch.maximum(logits.amax(1), own[part])
            logits.sub_(top[:, None]).exp_()
            positive = (own[part] - top).exp()
            mass = logits.sum(1) + positive
            total += (mass.log() + top - own[part]).sum()
            d_own[part] = positive / mass - 1
            logits.div_(mass[:, None])
            torch.mm(logits, rivals, out=d_query[part])
            d_rivals.addmm_(logits.T, query[part])
        ctx.save_for_backward(d_query, d_own, d_rivals)
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        """[] -> the gradients of query, own and rivals."""
        (grad,) = grad_outputs
        return *(grad * found for found in ctx.saved_tensors), None, None, None
