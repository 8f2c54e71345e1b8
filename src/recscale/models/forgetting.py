"""How much an event still counts after some time: one module, shared by every model."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from recscale.configfile import Settings
from recscale.models.clock import pairwise_age
from recscale.models.settings import Count

PIECE = 2**15  # ages worked on at a time: with eight components 1 MB, within a cache


class NoForgettingConfig(Settings):
    """Every event counts in full, whatever its age."""

    kind: Literal["none"] = "none"


class MixtureConfig(Settings):
    """Range and resolution of a learned decay curve.

    Eight time constants fit power-law, stretched and Wickelgren curves to 2 % between a minute and
    three years, which is why the family is not a setting.
    """

    kind: Literal["mixture"] = "mixture"
    components: Count = 8
    fastest: float = 120.0  # seconds
    slowest: float = 3e8  # seconds, about ten years

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> Self:
        if not 0 < self.fastest < self.slowest:
            raise ValueError(f"need 0 < fastest < slowest, got {self.fastest} and {self.slowest}")
        return self


ForgettingConfig = Annotated[NoForgettingConfig | MixtureConfig, Field(discriminator="kind")]


class NoForgetting(nn.Module):
    """The identity: a model with it is bit-identical to one that never heard of forgetting."""

    def forward(self, age: Tensor) -> Tensor:
        """[...] seconds -> [..., 1], exact ones."""
        return torch.ones_like(age)[..., None]

    def gate(self, age: Tensor) -> None:  # noqa: ARG002
        """Nothing to multiply attention by."""
        return

    def logits(self, clock: Tensor) -> None:  # noqa: ARG002
        """Nothing to add to attention logits."""
        return

    def flops(self, pairs: int) -> int:  # noqa: ARG002
        """None."""
        return 0


class Mixture(nn.Module):
    """Weight in (0, 1] for an age in seconds; 1 at age zero, never rising.

    f(age) = floor + sum_k w_k exp(-age / tau_k) with w a softmax that includes the floor and fixed,
    log-spaced tau. By Bernstein's theorem every completely monotone curve is such a mixture;
    exponential, power-law and stretched forgetting are all completely monotone.
    """

    rates: Tensor

    def __init__(self, config: MixtureConfig, heads: int) -> None:
        super().__init__()
        fastest, slowest = math.log10(config.fastest), math.log10(config.slowest)
        constants = torch.logspace(fastest, slowest, config.components)
        self.register_buffer("rates", 1 / constants, persistent=False)  # [K]
        share = torch.zeros(heads, config.components + 1)
        share[:, -1] = math.log(config.components)  # the floor starts with half of the weight
        self.share = nn.Parameter(share)  # [H, K + 1]

    def forward(self, age: Tensor) -> Tensor:
        """[...] seconds -> [..., H]."""
        weight = self.share.softmax(dim=-1)[:, :-1]  # [H, K]
        kept = cast(Tensor, Decay.apply(age.flatten(), self.rates, weight))
        return kept.unflatten(1, age.shape).movedim(0, -1)

    def gate(self, age: Tensor) -> Tensor:
        """[B, L, M] -> [B, H, L, M], for attention that multiplies."""
        return self(age).movedim(-1, 1)

    def logits(self, clock: Tensor) -> Tensor:
        """[B, L] milliseconds -> [B, H, L, L], for attention under a softmax."""
        return self.gate(pairwise_age(clock)).log()

    def flops(self, pairs: int) -> int:
        """The product with the mixture's weights, for each pair of events."""
        heads, components = self.share.shape
        return 2 * pairs * heads * (components - 1)


class Decay(torch.autograd.Function):
    """The mixture over many ages, a piece at a time.

    Held for the backward pass, the K exponentials of every pair of events would outgrow the model.
    """

    @staticmethod
    def forward(ctx: Any, age: Tensor, rates: Tensor, weight: Tensor) -> Tensor:
        """age [P] seconds, rates [K], weight [H, K] without the floor -> [H, P]."""
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


Forgetting = NoForgetting | Mixture


def build_forgetting(config: NoForgettingConfig | MixtureConfig, heads: int) -> Forgetting:
    """One curve for each head."""
    match config:
        case NoForgettingConfig():
            return NoForgetting()
        case MixtureConfig():
            return Mixture(config, heads)
