"""Encoders event by event: keys and values of the past are kept, new events attend to them.

Exact, because an event's row depends on no later event and on no clock but those of events.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from recscale.models.clock import age_seconds, bucket
from recscale.models.generative import hstu, transformer
from recscale.models.generative.hstu import HSTU
from recscale.models.generative.linear import LinearKept, LinearState
from recscale.models.generative.stored import Precision, Stored, nothing
from recscale.models.generative.transformer import Transformer


@dataclass(frozen=True, slots=True)
class Kept:
    """What one user's L events left in an encoder."""

    time: Tensor  # [L] int64 milliseconds
    keys: Sequence[Stored]  # of each block
    values: Sequence[Stored]  # of each block

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return sum(part.nbytes for part in (self.time, *self.keys, *self.values))


Extend = Callable[[Tensor, Tensor, Any], tuple[Tensor, Kept | LinearKept]]


def extension(encoder: object, precision: Precision = "float32") -> Extend | None:
    """(x [n, D], time [n], kept) -> (states [n, D], kept) of n more events of one user.

    None for an encoder that has no such form here: it reads the whole history each time.
    """
    match encoder:
        case HSTU():
            return lambda x, time, kept: _extend_hstu(encoder, x, _Past(time, kept, precision))
        case Transformer():
            return lambda x, time, kept: _extend_transformer(
                encoder, x, _Past(time, kept, precision)
            )
        case LinearState():
            return encoder.extend
        case _:
            return None


def _extend_hstu(encoder: HSTU, x: Tensor, past: _Past) -> tuple[Tensor, Kept]:
    age = age_seconds(past.time[past.before :, None], past.time)  # [n, L]
    buckets, distance = bucket(age), past.distance.clamp(min=0)
    scale = encoder.scale[past.before : past.before + len(x), None]
    gate = encoder.forgetting.of_clocks(age, past.seen) * (past.visible * scale)
    for block in encoder.blocks:
        assert isinstance(block, hstu.Block)
        u, vqk = F.silu(block.project(block.norm_in(x))).tensor_split([x.shape[1]], dim=1)
        v, q, k = vqk.unflatten(-1, (3, block.heads, -1)).permute(1, 2, 0, 3)
        keys, values = past.grow(k, v)
        bias = block.bias.time[buckets] + block.bias.position[distance]
        mixed = (F.silu(q @ keys.mT + bias) * gate) @ values  # [H, n, D/H]
        x = x + block.output(block.norm_out(mixed.movedim(0, 1).flatten(1)) * u)
    return encoder.norm(x), past.kept()


def _extend_transformer(encoder: Transformer, x: Tensor, past: _Past) -> tuple[Tensor, Kept]:
    age = age_seconds(past.time[past.before :, None], past.time)
    decay = encoder.forgetting.of_clocks(age, past.seen).log()
    decay = decay.masked_fill(~past.visible, -torch.inf)  # [H or 1, n, L]
    x = x + encoder.positions[past.before : past.before + len(x)]
    for block in encoder.blocks:
        assert isinstance(block, transformer.Block)
        qkv = block.project(block.norm_attention(x))
        q, k, v = qkv.unflatten(-1, (3, block.heads, -1)).permute(1, 2, 0, 3)
        keys, values = past.grow(k, v)
        mixed = F.scaled_dot_product_attention(q, keys, values, attn_mask=decay)
        x = x + block.output(mixed.movedim(0, 1).flatten(1))
        x = x + block.feed(block.norm_feed(x))
    return encoder.norm(x), past.kept()


class _Past:
    """n new events behind those kept, block after block."""

    def __init__(self, time: Tensor, kept: Kept | None, precision: Precision) -> None:
        self.old = kept
        self.precision: Precision = precision
        self.before = 0 if kept is None else len(kept.time)
        self.time = time if kept is None else torch.cat([kept.time, time])  # [L]
        place = torch.arange(len(self.time), device=time.device)
        self.distance = place[self.before :, None] - place  # [n, L]
        self.visible = self.distance >= 0
        self.seen = place[self.before :] + 1  # [n]
        self.keys: list[Stored] = []
        self.values: list[Stored] = []

    def grow(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """[H, n, D/H] each -> those of all L events, as they are kept."""
        block = len(self.keys)
        if self.old is None:
            keys, values = (nothing(new, self.precision) for new in (key, value))
        else:
            keys, values = self.old.keys[block], self.old.values[block]
        self.keys.append(keys.join(key))
        self.values.append(values.join(value))
        return self.keys[block].read(), self.values[block].read()

    def kept(self) -> Kept:
        """What the next events need."""
        return Kept(self.time, self.keys, self.values)
