"""Linear attention with decay: a state of fixed size that an event updates in O(1).

    y_i = sum_{j <= i} f(t_i - t_j) (q_i . k_j) v_j,    f(age) = sum_k w_k exp(-r_k age)

A mixture of exponentials is what a finite state can hold exactly: S_k <- exp(-r_k dt) S_k + k v^T
and y = sum_k w_k q S_k give the same sum event by event (RetNet, Sun et al. 2023, eq. 5 and 6,
with time in place of the count of events and one decay for each time constant of forgetting).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recscale.models import jagged
from recscale.models.clock import age_seconds, pairwise_age
from recscale.models.counting import linear_flops
from recscale.models.forgetting import (
    Forgetting,
    ForgettingConfig,
    Mixture,
    MixtureConfig,
    NoForgetting,
)
from recscale.models.generative.settings import EncoderSettings
from recscale.types import History

ROWS = 16  # attended to together: of like length, they pad each other little
PIECE = 2**15  # ages worked on at a time: with eight components 1 MB, within a cache


class LinearConfig(EncoderSettings):
    """Forgets by default: with no decay all the past is one average."""

    name: Literal["linear"] = "linear"
    forgetting: ForgettingConfig = MixtureConfig()


@dataclass(frozen=True, slots=True)
class Among:
    """The b rows of a group, and the decay between two of their events, 0 for the future."""

    group: jagged.Group
    decay: Tensor  # broadcast to [b, H, L, L]


class Block(nn.Module):
    """Project to u, v, q, k; attend by plain products; gate by u, project, add: as HSTU does."""

    def __init__(self, config: LinearConfig) -> None:
        super().__init__()
        self.width, self.heads = config.width, config.heads
        self.norm_in = nn.LayerNorm(config.width)
        self.norm_out = nn.LayerNorm(config.width)
        self.project = nn.Linear(config.width, 4 * config.width)
        self.output = nn.Linear(config.width, config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, among: tuple[Among, ...]) -> Tensor:
        """x [T, D] sorted -> [T, D]."""
        u, vqk = self._read(x)
        mixed = [self._attend(vqk[part.group.events], part) for part in among]
        return self._write(x, u, torch.cat(mixed) if mixed else u)

    def _attend(self, vqk: Tensor, among: Among) -> Tensor:
        """[t, 3 D] -> [t, D], of one group."""
        where = among.group.where
        v, q, k = jagged.pad(vqk, where).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = (q @ k.mT * among.decay) @ v
        return jagged.unpad(mixed.movedim(1, 2).flatten(2), where)

    def step(self, x: Tensor, state: Tensor, kept: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """x [1, D], state [K, H, d, d], kept [K] of it, weight [H, K] -> [1, D], state after it."""
        u, vqk = self._read(x)
        v, q, k = vqk.view(3, self.heads, -1)  # [H, d]
        state = state * kept[:, None, None, None] + k[..., None] * v[:, None]
        mixed = torch.einsum("hk,hc,khcd->hd", weight, q, state)
        return self._write(x, u, mixed.flatten()[None]), state

    def _read(self, x: Tensor) -> tuple[Tensor, Tensor]:
        u, vqk = F.silu(self.project(self.norm_in(x))).split([self.width, 3 * self.width], dim=1)
        return u, vqk

    def _write(self, x: Tensor, u: Tensor, mixed: Tensor) -> Tensor:
        return x + self.output(self.dropout(self.norm_out(mixed) * u))


@dataclass(frozen=True, slots=True)
class LinearKept:
    """What all of a user's events left: its size does not grow with them."""

    time: Tensor  # [1] int64 milliseconds, of the newest event
    sums: Sequence[Tensor]  # of each block: [K, H, d, d]

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return sum(part.nbytes for part in (self.time, *self.sums))


class LinearState(nn.Module):
    """Encodes a history event by event; no event sees a later one."""

    def __init__(self, config: LinearConfig, forgetting: Forgetting) -> None:
        super().__init__()
        if not isinstance(forgetting, NoForgetting | Mixture) or not forgetting.by_clock:
            raise ValueError(
                f"model.forgetting.kind: {config.forgetting.kind} is more than a state of fixed "
                "size can hold; none is possible, or mixture without by_category and by_user"
            )
        self.width, self.heads = config.width, config.heads
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.width)
        self.forgetting = forgetting

    def forward(self, x: Tensor, history: History) -> Tensor:
        """[T, D] -> [T, D], all events at once."""
        where = jagged.group(history.offsets, lambda _: ROWS)
        clock = history.time[where.order]
        among = tuple(self._among(group, clock) for group in where.groups)
        x = x.index_select(0, where.order)
        for block in self.blocks:
            x = block(x, among)
        return self.norm(x).index_select(0, where.back)

    def _among(self, group: jagged.Group, clock: Tensor) -> Among:
        age = pairwise_age(jagged.pad(clock[group.events], group.where))
        causal = torch.ones_like(age[0]).tril()
        if isinstance(self.forgetting, NoForgetting):
            return Among(group, causal)
        # Exact, where other encoders read a table: the state that an event updates is exact too.
        rates, weight = spectrum(self.forgetting, self.heads)
        decay = cast(Tensor, Decay.apply(age.flatten(), rates[:-1], weight[:, :-1]))
        return Among(group, decay.unflatten(1, age.shape).movedim(0, 1) * causal)

    def extend(
        self, x: Tensor, time: Tensor, state: LinearKept | None
    ) -> tuple[Tensor, LinearKept]:
        """x [n, D], time [n]: more events of one user -> [n, D] and the state after them."""
        rates, weight = spectrum(self.forgetting, self.heads)
        size = self.width // self.heads
        zeros = x.new_zeros(len(rates), self.heads, size, size)
        state = state or LinearKept(time[:1], [zeros] * len(self.blocks))
        rows: list[Tensor] = []
        for event, now in zip(x.split(1), time.split(1), strict=True):
            kept = torch.exp(-rates * age_seconds(now, state.time))
            sums: list[Tensor] = []
            for block, before in zip(self.blocks, state.sums, strict=True):
                assert isinstance(block, Block)
                event, after = block.step(event, before, kept, weight)  # noqa: PLW2901
                sums.append(after)
            state = LinearKept(now, sums)
            rows.append(event)
        return self.norm(torch.cat(rows)), state

    def flops(self, length: int) -> int:
        """Linear layers, two products a block over all pairs, and the decay curve once."""
        pairs = length * length
        attention = len(self.blocks) * 4 * pairs * self.width
        rates, weight = spectrum(self.forgetting, self.heads)
        decay = 2 * pairs * (len(rates) - 1) * len(weight)  # the floor is added, not multiplied
        return linear_flops(self, length) + attention + decay


class Decay(torch.autograd.Function):
    """The mixture over many ages, a piece at a time.

    Held for the backward pass, the K exponentials of every pair of events would outgrow the model.
    """

    @staticmethod
    def forward(ctx: Any, age: Tensor, rates: Tensor, weight: Tensor) -> Tensor:
        """age [P] seconds, rates [K], weight [H, K], both without the floor -> [H, P]."""
        ctx.save_for_backward(age, rates)
        with torch.autocast(age.device.type, enabled=False):
            # 1 minus what is lost: age zero gives exactly one, and nothing exceeds it.
            return torch.cat([1 + weight @ _lost(part, rates) for part in age.split(PIECE)], dim=1)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, None, Tensor]:
        """[H, P] -> [H, K]; ages are data."""
        age, rates = ctx.saved_tensors
        pieces = zip(age.split(PIECE), grad_outputs[0].split(PIECE, dim=1), strict=True)
        grads = [grad @ _lost(part, rates).T for part, grad in pieces]
        return None, None, torch.stack(grads).sum(0)


def _lost(age: Tensor, rates: Tensor) -> Tensor:
    """[P], [K] -> [K, P], minus the part of each exponential that is gone."""
    return torch.expm1(rates[:, None] * -age)


def spectrum(forgetting: NoForgetting | Mixture, heads: int) -> tuple[Tensor, Tensor]:
    """Rates [K] a second and weights [H, K] of the exponentials that a curve is made of."""
    if isinstance(forgetting, NoForgetting):
        return torch.zeros(1), torch.ones(heads, 1)
    weight = forgetting.shares()
    rates = forgetting.rates.to(weight.dtype)
    return F.pad(rates, (0, 1)), weight  # last: what is never forgotten
