"""Causal attention without a softmax, in tiles that fit a cache (Zhai et al. 2024, eq. 2).

    mixed_i = scale_i sum_{j <= i} gate_ij silu(q_i k_j + bias_ij) v_j

Tiles above the diagonal are never touched, and no score outlives its tile: the backward pass
computes it again, which costs less than to keep L x L numbers a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from recscale.models import jagged
from recscale.models.clock import age_seconds, bucket
from recscale.models.forgetting import Forgetting, NoForgetting, Traits
from recscale.models.generative.bias import entries
from recscale.types import History

CELLS = 2**17  # pairs of a tile: 512 KB, so that the few tensors alive at once fit a 2 MB cache
QUERIES = 48  # of a tile: more would compute more above the diagonal


@dataclass(frozen=True, slots=True)
class Tile:
    """Queries start:stop of the b rows of a group, against all keys before stop."""

    start: int
    stop: int
    bias: Tensor  # [b, l, n] int32, entry of the table of biases
    gate: Tensor | None  # broadcast to [b, H, l, n]; None: all ones

    @property
    def queries(self) -> slice:
        """Places in the row: l of them."""
        return slice(self.start, self.stop)

    @property
    def keys(self) -> slice:
        """Places in the row: n of them."""
        return slice(self.stop)


@dataclass(frozen=True, slots=True)
class Pairs:
    """What all blocks share: how events lie, and what lies between two of them."""

    where: jagged.Groups
    tiles: tuple[tuple[Tile, ...], ...]  # of each group


def pairs(history: History, content: Tensor, forgetting: Forgetting, longest: int) -> Pairs:
    """content [T, D]: events as an encoder reads them. Gates carry gradients to `forgetting`."""
    where = jagged.group(history.offsets, lambda length: CELLS // (length * _step(length)))
    traits = forgetting.traits(history, content)
    found: list[tuple[Tile, ...]] = []
    for group in where.groups:
        events = where.order[group.events]
        clock = jagged.pad(history.time[events], group.where)  # [b, L]
        own = traits.padded(group.where, events)
        found.append(tuple(_tiles(clock, own, forgetting, longest)))
    return Pairs(where, tuple(found))


def _tiles(clock: Tensor, traits: Traits, forgetting: Forgetting, longest: int) -> Iterator[Tile]:
    place = torch.arange(clock.shape[1], device=clock.device, dtype=torch.int32)
    step = _step(len(place))
    for start in range(0, len(place), step):
        stop = min(len(place), start + step)
        age = age_seconds(clock[:, start:stop, None], clock[:, None, :stop])
        seen = place[None, start:stop].long() + 1
        gate = None
        if not isinstance(forgetting, NoForgetting):
            gate = forgetting(age, seen, traits.first(stop))
        distance = place[start:stop, None] - place[:stop]
        yield Tile(start, stop, entries(bucket(age), distance, longest), gate)


def num_pairs(length: int) -> int:
    """Pairs of a row that are worked out: a little over half of all."""
    starts = range(0, length, _step(length)) if length else ()
    stops = [min(length, start + _step(length)) for start in starts]
    return sum((stop - start) * stop for start, stop in zip(starts, stops, strict=True))


def _step(length: int) -> int:
    """Queries a tile."""
    return min(length, QUERIES, max(16, CELLS // length))


def attend(vqk: Tensor, table: Tensor, scale: Tensor, among: Pairs, heads: int) -> Tensor:
    """vqk [T, 3 D] sorted, table of biases, scale [N] -> [T, D] sorted.

    vqk holds the values of all heads, then the queries, then the keys.
    """
    gates = [tile.gate for tiles in among.tiles for tile in tiles]
    table, scale = table.to(vqk.dtype), scale.to(vqk.dtype)
    return cast(Tensor, Attention.apply(vqk, table, scale, among, heads, *gates))


class Attention(torch.autograd.Function):
    """The sum above, tile by tile, and its gradient."""

    @staticmethod
    def forward(
        ctx: Any,
        vqk: Tensor,
        table: Tensor,
        scale: Tensor,
        among: Pairs,
        heads: int,
        *_: Tensor | None,
    ) -> Tensor:
        """As `attend`; the gates of the tiles come again as arguments, for their gradient."""
        ctx.save_for_backward(vqk, table, scale)
        ctx.among, ctx.heads = among, heads
        mixed = vqk.new_empty(len(vqk), vqk.shape[1] // 3)
        for group, tiles in zip(among.where.groups, among.tiles, strict=True):
            v, q, k = _split(vqk, group, heads, 3)
            out = torch.empty_like(v)
            for tile in tiles:
                bias = _lookup(table, tile)
                for h in range(heads):
                    weight = torch.baddbmm(bias, q[h][:, tile.queries], k[h][:, tile.keys].mT)
                    _gated(F.silu(weight, inplace=True), tile, h)
                    out[h][:, tile.queries] = weight @ v[h][:, tile.keys]
            out *= scale[: out.shape[2], None]
            mixed[group.events] = _join(out[None], group)
        return mixed

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        """[T, D] -> the gradients of vqk, the table and the gates."""
        vqk, table, scale = ctx.saved_tensors
        among: Pairs = ctx.among
        d_table = torch.zeros_like(table, dtype=torch.float32)
        d_vqk, d_gates = torch.empty_like(vqk), list[Tensor | None]()
        for group, tiles in zip(among.where.groups, among.tiles, strict=True):
            parts = _split(vqk, group, ctx.heads, 3)
            (d_out,) = _split(grad_outputs[0], group, ctx.heads, 1)
            d_out = d_out * scale[: d_out.shape[2], None]
            d_parts = torch.zeros_like(parts)
            for tile in tiles:
                bias = _lookup(table, tile)
                of_heads = [
                    _tile_backward(tile, h, bias, parts[:, h], d_out[h], d_parts[:, h])
                    for h in range(ctx.heads)
                ]
                d_bias = of_heads[0][0]
                for d_logit, _ in of_heads[1:]:
                    d_bias += d_logit
                d_table += _histogram(tile.bias, d_bias, len(table))
                d_gates.append(_gate_gradient(tile, [d_gate for _, d_gate in of_heads]))
            d_vqk[group.events] = _join(d_parts, group)
        return d_vqk, d_table.to(table.dtype), None, None, None, *d_gates


def _tile_backward(
    tile: Tile, head: int, bias: Tensor, parts: Tensor, d_out: Tensor, d_parts: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Adds to d_parts; gives the gradients [b, l, n] of the logits and of the gate."""
    (v, q, k), (d_v, d_q, d_k) = parts, d_parts
    logit = torch.baddbmm(bias, q[:, tile.queries], k[:, tile.keys].mT)
    weight = F.silu(logit)
    grad = d_out[:, tile.queries] @ v[:, tile.keys].mT
    d_gate = grad * weight if tile.gate is not None and tile.gate.requires_grad else None
    d_v[:, tile.keys].baddbmm_(_gated(weight, tile, head).mT, d_out[:, tile.queries])
    d_logit = torch.ops.aten.silu_backward(_gated(grad, tile, head), logit)
    d_q[:, tile.queries] = d_logit @ k[:, tile.keys]
    d_k[:, tile.keys].baddbmm_(d_logit.mT, q[:, tile.queries])
    return d_logit, d_gate


def _gated(weight: Tensor, tile: Tile, head: int) -> Tensor:
    """[b, l, n], in place.

    Decay is part of the gate, outside SiLU. Added inside as log-decay it would not shrink: SiLU has
    its minimum of -0.278 at -1.278, so that a weak match would turn into a strong one.
    """
    if tile.gate is None:
        return weight
    return weight.mul_(tile.gate[:, min(head, tile.gate.shape[1] - 1)])


def _gate_gradient(tile: Tile, of_heads: list[Tensor | None]) -> Tensor | None:
    found = [gradient for gradient in of_heads if gradient is not None]
    if tile.gate is None or not found:
        return None
    return torch.stack(found, dim=1).sum_to_size(tile.gate.shape)


def _lookup(table: Tensor, tile: Tile) -> Tensor:
    return table.index_select(0, tile.bias.flatten()).view(tile.bias.shape)


def _histogram(index: Tensor, weight: Tensor, size: int) -> Tensor:
    """PyTorch's own gradient of indexing adds one element at a time: several times slower."""
    return torch.bincount(index.flatten(), weight.flatten(), minlength=size)


def _split(values: Tensor, group: jagged.Group, heads: int, parts: int) -> Tensor:
    """[T, parts D] -> [parts, H, b, L, D / H], of one group."""
    cells = jagged.pad(values[group.events], group.where)
    return cells.unflatten(-1, (parts, heads, -1)).permute(2, 3, 0, 1, 4)


def _join(cells: Tensor, group: jagged.Group) -> Tensor:
    """[parts, H, b, L, D / H] -> [t, parts D]."""
    return jagged.unpad(cells.permute(2, 3, 0, 1, 4).flatten(2), group.where)
