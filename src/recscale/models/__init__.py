"""Every model, and the one place that turns a config into one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from torch import nn

from recscale.models.ctr.dcnv2 import DCNv2, DCNv2Config
from recscale.models.ctr.din import DIN, DINConfig
from recscale.models.ctr.dlrm import DLRM, DLRMConfig
from recscale.models.ctr.finalmlp import FinalMLP, FinalMLPConfig
from recscale.models.ctr.long_din import LongDIN, LongDINConfig
from recscale.models.ctr.pooled import Pooled
from recscale.models.floors.popularity import Popularity, PopularityConfig
from recscale.models.floors.recent import Recent, RecentConfig
from recscale.models.forgetting import Forgetting, build_forgetting
from recscale.models.generative.hstu import HSTU, HSTUConfig
from recscale.models.generative.linear import LinearConfig, LinearState
from recscale.models.generative.mixer import Mixer, MixerConfig
from recscale.models.generative.retriever import Encoder, Generative
from recscale.models.generative.transformer import Transformer, TransformerConfig
from recscale.models.together.distilled import Distilled, DistilledConfig, DistilledRetriever
from recscale.models.together.fusion import (
    ByRequest,
    Constant,
    Fusion,
    FusionConfig,
    GateConfig,
)
from recscale.models.together.informed import Informed, InformedConfig
from recscale.models.together.shortlist import Shortlist, ShortlistConfig
from recscale.types import Catalogue, Ranker, Retriever, Schema

GenerativeConfig = HSTUConfig | TransformerConfig | MixerConfig | LinearConfig
AnySingleConfig = (
    GenerativeConfig
    | DINConfig
    | LongDINConfig
    | DCNv2Config
    | DLRMConfig
    | FinalMLPConfig
    | PopularityConfig
    | RecentConfig
)
AnyCombinerConfig = FusionConfig | GateConfig | ShortlistConfig | InformedConfig | DistilledConfig
AnyModelConfig = AnySingleConfig | AnyCombinerConfig
SingleConfig = Annotated[AnySingleConfig, Field(discriminator="name")]
ModelConfig = Annotated[AnyModelConfig, Field(discriminator="name")]
Single = Generative | DIN | Pooled | Popularity | Recent
Model = Single | Fusion | Shortlist | Informed | Distilled


def build(
    config: AnyModelConfig, schema: Schema, catalogue: Catalogue, members: Sequence[Ranker] = ()
) -> Model:
    """Explicit on purpose: a new model is a new file, a new union member and a new case.

    members: finished models, for a combiner. Raises ValueError where it needs others.
    """
    match config:
        case FusionConfig():
            _require(len(members) >= 2, "two or more", members)
            weights = Constant(len(members))
            return Fusion(weights, config.negatives, schema, members)
        case GateConfig():
            _require(len(members) >= 2, "two or more", members)
            weights = ByRequest(len(members), schema)
            return Fusion(weights, config.negatives, schema, members)
        case ShortlistConfig():
            _require(len(members) == 2, "two, the first a generative model", members)
            return Shortlist(config, schema, _retriever(members[0]), members[1])
        case InformedConfig():
            _require(len(members) == 1, "one, a generative model", members)
            inner = config.ranker
            generator = _retriever(members[0])
            return Informed(config, schema, catalogue, lambda s, c: build(inner, s, c), generator)
        case DistilledConfig():
            _require(len(members) == 1, "one, the teacher", members)
            student = build(config.student, schema, catalogue)
            if isinstance(student, Generative):
                return DistilledRetriever(config, schema, student, members[0])
            return Distilled(config, schema, student, members[0])
        case _:
            _require(not members, "none: it stands alone", members)
            return _single(config, schema, catalogue)


def _single(config: AnySingleConfig, schema: Schema, catalogue: Catalogue) -> Single:
    match config:
        case HSTUConfig() | TransformerConfig() | MixerConfig() | LinearConfig():
            forgetting = _forgetting(config, schema, catalogue)
            encoder = build_encoder(config, schema.history, forgetting)
            return Generative(encoder, config.objective, config.dropout, schema, catalogue)
        case DINConfig() | DCNv2Config() | DLRMConfig() | FinalMLPConfig():
            return _build_click(config, schema, catalogue)
        case PopularityConfig():
            return Popularity(catalogue)
        case RecentConfig():
            return Recent(catalogue)


def _build_click(
    config: DINConfig | DCNv2Config | DLRMConfig | FinalMLPConfig,
    schema: Schema,
    catalogue: Catalogue,
) -> DIN | Pooled:
    match config:
        case LongDINConfig():  # before the settings that it extends
            return LongDIN(config, schema, catalogue, _forgetting(config, schema, catalogue))
        case DINConfig():
            return DIN(config, schema, catalogue, _forgetting(config, schema, catalogue))
        case DLRMConfig():
            return DLRM(config, schema, catalogue)
        case FinalMLPConfig():
            return FinalMLP(config, schema, catalogue)
        case DCNv2Config():
            return DCNv2(config, schema, catalogue)


def build_encoder(config: GenerativeConfig, history: int, forgetting: Forgetting) -> Encoder:
    """Histories in, a state after each event out."""
    match config:
        case HSTUConfig():
            return HSTU(config, history, forgetting)
        case TransformerConfig():
            return Transformer(config, history, forgetting)
        case MixerConfig():
            return Mixer(config, history, forgetting)
        case LinearConfig():
            return LinearState(config, forgetting)


def _forgetting(
    config: GenerativeConfig | DINConfig, schema: Schema, catalogue: Catalogue
) -> Forgetting:
    heads = 1 if isinstance(config, DINConfig) else config.heads
    return build_forgetting(config.forgetting, heads, config.width, schema, catalogue)


def is_trained(model: nn.Module) -> bool:
    """False where there is nothing to fit: a floor, or a combiner of members only."""
    return any(weight.requires_grad for weight in model.parameters())


def is_floor(model: nn.Module) -> bool:
    """Without a single parameter: its score orders items and is no probability."""
    return not any(True for _ in model.parameters())


def _retriever(member: Ranker) -> Retriever:
    if not isinstance(member, Retriever):
        raise ValueError(  # noqa: TRY004, a setting of the user's
            f"members: the first must be a generative model, got {type(member).__name__}"
        )
    return member


def _require(holds: bool, wanted: str, members: Sequence[Ranker]) -> None:  # noqa: FBT001
    if not holds:
        got = ", ".join(type(member).__name__ for member in members) or "none"
        raise ValueError(f"members: want {wanted}; got {got}")
