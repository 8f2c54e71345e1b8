"""What every encoder of a history lets a user choose."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from recscale.configfile import Settings
from recscale.models.forgetting import ForgettingConfig, NoForgettingConfig
from recscale.models.losses import Objective, SampledSoftmax
from recscale.models.settings import Count, Fraction


class EncoderSettings(Settings):
    """Two blocks of width 64 by default: small enough for a laptop."""

    blocks: Count = 2
    width: Count = 64
    heads: Count = 2
    dropout: Fraction = 0.2
    forgetting: ForgettingConfig = NoForgettingConfig()
    objective: Objective = SampledSoftmax()

    @model_validator(mode="after")
    def _heads_divide_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        return self
