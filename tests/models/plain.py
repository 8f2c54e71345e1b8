"""The plain forms that fast ones must equal, in values and in gradients."""

import torch
import torch.nn.functional as F
from torch import Tensor

from recscale.models import jagged
from recscale.models.clock import bucket, pairwise_age
from recscale.models.generative.hstu import HSTU, Block
from recscale.types import History


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, gate: Tensor) -> Tensor:
    """q, k, v [B, H, L, D/H], bias [B, L, L], gate broadcast to [B, H, L, L] -> [B, H, L, D/H]."""
    return (F.silu(q @ k.mT + bias[:, None]) * gate) @ v


def hstu(encoder: HSTU, x: Tensor, history: History) -> Tensor:
    """[T, D] -> [T, D], over one padded rectangle of the whole batch."""
    where = jagged.layout(history.offsets)
    age = pairwise_age(jagged.pad(history.time, where))
    length = age.shape[-1]
    traits = encoder.forgetting.traits(history, x).padded(where)
    gate = encoder.forgetting(age, torch.arange(1, length + 1)[None], traits)
    gate = gate * torch.ones(length, length).tril() * encoder.scale[:length, None]
    place = torch.arange(length)
    distance = (place[:, None] - place).clamp(min=0)
    for block in encoder.blocks:
        assert isinstance(block, Block)
        bias = block.bias.time[bucket(age).long()] + block.bias.position[distance]
        u, v, q, k = F.silu(block.project(block.norm_in(x))).chunk(4, dim=1)
        parts = (
            jagged.pad(part, where).unflatten(-1, (block.heads, -1)).movedim(1, 2)
            for part in (q, k, v)
        )
        mixed = jagged.unpad(attend(*parts, bias, gate).movedim(1, 2).flatten(2), where)
        x = x + block.output(block.norm_out(mixed) * u)
    return encoder.norm(x)


def softmax(
    query: Tensor, own: Tensor, rivals: Tensor, shift: Tensor, target: Tensor, ids: Tensor
) -> Tensor:
    """As `contrast`, with all logits at once."""
    logits = query @ rivals.T + shift
    collision = target[:, None] == ids
    logits = torch.cat([own[:, None], logits.masked_fill(collision, -torch.inf)], dim=1)
    return F.cross_entropy(logits, torch.zeros_like(target), reduction="sum")
