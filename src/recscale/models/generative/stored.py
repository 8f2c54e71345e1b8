"""How keys and values are kept: as they are, or in fewer bits than they were worked out in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

Precision = Literal["float32", "bfloat16", "int8", "int4"]


class Stored(Protocol):
    """Keys or values of L events of one user, in one block: [H, L, D/H]."""

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        ...

    def join(self, more: Tensor) -> Stored:
        """more [H, n, D/H] behind these. What is kept of an event does not depend on the others."""
        ...

    def read(self) -> Tensor:
        """[H, L, D/H] float32."""
        ...


@dataclass(frozen=True, slots=True)
class Floats:
    """float32, exact, or bfloat16."""

    values: Tensor

    @property
    def nbytes(self) -> int:
        """See Stored."""
        return self.values.nbytes

    def join(self, more: Tensor) -> Floats:
        """See Stored."""
        return Floats(torch.cat([self.values, more.to(self.values.dtype)], dim=1))

    def read(self) -> Tensor:
        """See Stored."""
        return self.values.float()


@dataclass(frozen=True, slots=True)
class Levels:
    """Whole numbers up to `most`, and for each head and event what one of them stands for."""

    levels: Tensor  # int8 [H, L, D/H]
    step: Tensor  # float32 [H, L, 1]
    most: int

    @property
    def nbytes(self) -> int:
        """See Stored."""
        return self.levels.nbytes + self.step.nbytes

    def join(self, more: Tensor) -> Levels:
        """See Stored."""
        step = more.abs().amax(-1, keepdim=True) / self.most
        levels = (more / step.clamp(min=torch.finfo(step.dtype).tiny)).round().to(torch.int8)
        return Levels(
            torch.cat([self.levels, levels], 1), torch.cat([self.step, step], 1), self.most
        )

    def read(self) -> Tensor:
        """See Stored."""
        return self.levels * self.step


@dataclass(frozen=True, slots=True)
class Nibbles:
    """`Levels` up to 7, two in a byte."""

    pairs: Tensor  # uint8 [H, L, D/H/2]
    step: Tensor  # float32 [H, L, 1]

    @property
    def nbytes(self) -> int:
        """See Stored."""
        return self.pairs.nbytes + self.step.nbytes

    def join(self, more: Tensor) -> Nibbles:
        """See Stored."""
        found = _no_levels(more, most=7).join(more)
        low, high = (found.levels + 7).to(torch.uint8).unflatten(-1, (-1, 2)).unbind(-1)
        pairs = torch.cat([self.pairs, low | high << 4], dim=1)
        return Nibbles(pairs, torch.cat([self.step, found.step], dim=1))

    def read(self) -> Tensor:
        """See Stored."""
        levels = torch.stack([self.pairs & 15, self.pairs >> 4], dim=-1).flatten(-2)
        return (levels.to(torch.int8) - 7) * self.step


def nothing(like: Tensor, precision: Precision) -> Stored:
    """No event yet, of the heads and width of `like` [H, n, D/H]. int4 asks for an even width."""
    match precision:
        case "float32":
            return Floats(like[:, :0])
        case "bfloat16":
            return Floats(like[:, :0].bfloat16())
        case "int8":
            return _no_levels(like, most=127)
        case "int4":
            if like.shape[-1] % 2:
                raise ValueError(f"int4 keeps numbers in pairs; a head has {like.shape[-1]}")
            return Nibbles(like[:, :0, : like.shape[-1] // 2].to(torch.uint8), like[:, :0, :1])


def _no_levels(like: Tensor, most: int) -> Levels:
    return Levels(like[:, :0].to(torch.int8), like[:, :0, :1], most)
