"""Forgetting without a clock: by how many events came later, or by which."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recscale.models import jagged
from recscale.models.forgetting.kernel import SMALLEST, Forgetting, Traits
from recscale.types import History


class EventCount(Forgetting):
    """exp(-a_h n) after n later events, from ALiBi's slopes on (Press et al. 2022, sec. 3)."""

    none: Tensor

    def __init__(self, heads: int) -> None:
        super().__init__()
        slope = torch.exp2(-8 * torch.arange(1, heads + 1) / heads)
        self.slope = nn.Parameter(slope.log())  # [H]
        self.register_buffer("none", torch.zeros(0, dtype=torch.int32), persistent=False)

    def traits(self, history: History, content: Tensor) -> Traits:  # noqa: ARG002
        """A slope a head."""
        return Traits(self.slope.exp(), self.none)

    def forward(self, age: Tensor, seen: Tensor, traits: Traits) -> Tensor:
        """[B, H, Q, L]; B is 1 where it is 1 in `seen`."""
        place = torch.arange(age.shape[-1], device=age.device)
        later = (seen[..., None] - 1 - place).clamp(min=0)[:, None]  # [B, 1, Q, L]
        return torch.exp(-traits.shared[:, None, None] * later).clamp(min=SMALLEST)


class Content(Forgetting):
    """prod_l sigmoid(w_h . x_l + b_h) over the later events l (Lin et al. 2025, eq. 3)."""

    none: Tensor

    def __init__(self, heads: int, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(width, heads)
        nn.init.constant_(self.gate.bias, 4.0)  # an event starts by taking 2 % off older ones
        self.register_buffer("none", torch.zeros(0, dtype=torch.int32), persistent=False)

    @property
    def by_clock(self) -> bool:
        """It reads the events themselves."""
        return False

    def traits(self, history: History, content: Tensor) -> Traits:
        """[T, H], minus the logarithm of all gates up to each event."""
        where = jagged.layout(history.offsets)
        closing = jagged.pad(F.softplus(-self.gate(content)), where).cumsum(1)
        return Traits(self.none, jagged.unpad(closing, where))

    def forward(self, age: Tensor, seen: Tensor, traits: Traits) -> Tensor:
        """[B, H, Q, L]."""
        total = F.pad(traits.own, (0, 0, 1, 0))  # [B, 1 + L, H]
        seen = seen.expand(len(age), -1)[..., None].expand(-1, -1, total.shape[-1])
        now = total.gather(1, seen).movedim(2, 1)  # [B, H, Q]
        lost = now[..., None] - traits.own.movedim(2, 1)[:, :, None]
        return torch.exp(-lost.clamp(min=0)).clamp(min=SMALLEST)
