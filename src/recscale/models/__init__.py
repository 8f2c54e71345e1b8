"""Every model, and the one place that turns a config into one."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from recscale.models.ctr.dcnv2 import DCNv2, DCNv2Config
from recscale.models.ctr.din import DIN, DINConfig
from recscale.models.floors.popularity import Popularity, PopularityConfig
from recscale.models.floors.recent import Recent, RecentConfig
from recscale.models.generative.hstu import HSTU, HSTUConfig
from recscale.models.generative.retriever import Generative
from recscale.models.generative.transformer import Transformer, TransformerConfig
from recscale.types import Catalogue, Schema

AnyModelConfig = (
    HSTUConfig | TransformerConfig | DINConfig | DCNv2Config | PopularityConfig | RecentConfig
)
ModelConfig = Annotated[AnyModelConfig, Field(discriminator="name")]
Model = Generative | DIN | DCNv2 | Popularity | Recent


def build(config: AnyModelConfig, schema: Schema, catalogue: Catalogue) -> Model:
    """Explicit on purpose: a new model is a new file, a new union member and a new case."""
    match config:
        case HSTUConfig():
            encoder = HSTU(config, schema.history)
            return Generative(encoder, config.objective, config.dropout, schema, catalogue)
        case TransformerConfig():
            encoder = Transformer(config, schema.history)
            return Generative(encoder, config.objective, config.dropout, schema, catalogue)
        case DINConfig():
            return DIN(config, schema, catalogue)
        case DCNv2Config():
            return DCNv2(config, schema, catalogue)
        case PopularityConfig():
            return Popularity(catalogue)
        case RecentConfig():
            return Recent(catalogue)


def is_trained(model: nn.Module) -> bool:
    """False for floors: with no parameters there is nothing to fit."""
    return any(weight.requires_grad for weight in model.parameters())
