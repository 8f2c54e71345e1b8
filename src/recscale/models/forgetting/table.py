"""A curve over age as a table, read for many pairs of events at the price of a look-up.

Nodes lie at 64 ages an octave of 1 + age, and the curve is straight between them: from a second on
within 3e-5 of every family here, for a third of the time that eight exponentials a pair take.
M nodes, G curves, H heads, P pairs.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

FRACTION_BITS = 17  # of a float's 23 mantissa bits, below those that number the node
PER_OCTAVE = 2 ** (23 - FRACTION_BITS)
OCTAVES = 32  # the last node lies at 2^32 seconds, 136 years
NODES = PER_OCTAVE * OCTAVES + 1
ONE = 127 << (23 - FRACTION_BITS)  # the node of 1.0 among all floats: that of age 0
LAST = 2.0**OCTAVES - 256  # the float before 2^32: later ages weigh what it does
PIECE = 2**15  # pairs worked on at a time: their intermediates stay in the cache


def nodes() -> Tensor:
    """[M] ages in seconds, from 0 on."""
    place = torch.arange(NODES, dtype=torch.float64)
    octave, step = (place / PER_OCTAVE).floor(), place % PER_OCTAVE
    return (2**octave * (1 + step / PER_OCTAVE) - 1).float()


def read(table: Tensor, age: Tensor, row: Tensor) -> Tensor:
    """Table [G, H, M], age [B, Q, L] seconds from 0 on, row [B, L] curves -> [B, H, Q, L].

    Differentiable in the table alone; nothing of the size of its result is kept for that but age.
    """
    return cast(Tensor, _Read.apply(table, age, row))


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, age: Tensor, row: Tensor) -> Tensor:
        ctx.save_for_backward(age, row)
        ctx.shape = table.shape
        batch, moments, events = age.shape
        heads = table.shape[1]
        flat = [table[:, h].flatten() for h in range(heads)]
        out = table.new_empty(heads, age.numel())
        start = 0
        for part, curve in _pieces(age, row):
            node, between = _place(part, curve)
            for h in range(heads):
                low = flat[h].index_select(0, node)
                # In this order rounding cannot make the curve rise; torch.lerp's can.
                step = flat[h].index_select(0, node + 1).sub_(low).mul_(between)
                torch.add(low, step, out=out[h, start : start + len(part)])
            start += len(part)
        return out.view(heads, batch, moments, events).movedim(0, 1)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        age, row = ctx.saved_tensors
        curves, heads, size = ctx.shape
        grad = grad_outputs[0].movedim(1, 0).flatten(1)  # [H, P]
        total = grad.new_zeros(heads, curves * size + 1)
        start = 0
        for part, curve in _pieces(age, row):
            node, between = _place(part, curve)
            for h in range(heads):
                here = grad[h, start : start + len(part)]
                above = here * between
                total[h, 1:] += torch.bincount(node, above, curves * size)
                total[h, :-1] += torch.bincount(node, here - above, curves * size)
            start += len(part)
        return total[:, :-1].view(heads, curves, size).movedim(0, 1), None, None


def _pieces(age: Tensor, row: Tensor) -> list[tuple[Tensor, Tensor | None]]:
    """Age and curve of up to PIECE pairs at a time; no curves where there is only one."""
    ages = age.flatten().split(PIECE)
    if not row.numel():
        return [(part, None) for part in ages]
    curves = row[:, None].expand_as(age).flatten().split(PIECE)
    return list(zip(ages, curves, strict=True))


def _place(age: Tensor, curve: Tensor | None) -> tuple[Tensor, Tensor]:
    """[P] -> the node at or below each age, and how far it is to the next, in 0 to 1.

    Exponent and first mantissa bits of the float number the node: no logarithm is taken.
    """
    bits = (age + 1).clamp_(max=LAST).view(torch.int32)
    node = (bits >> FRACTION_BITS).sub_(ONE)
    between = (bits & (2**FRACTION_BITS - 1)).float().mul_(2.0**-FRACTION_BITS)
    if curve is not None:
        node = node + curve * NODES
    return node, between
