"""How much an event still counts after some time: one module, shared by every model."""

from __future__ import annotations

from recscale.models.forgetting.curves import (
    AgeCurve,
    Bucket,
    Exponential,
    Mixture,
    Power,
    Stretched,
    Wickelgren,
    start,
    start_buckets,
)
from recscale.models.forgetting.kernel import Forgetting, NoForgetting, Traits
from recscale.models.forgetting.order import Content, EventCount
from recscale.models.forgetting.settings import (
    AgeCurveConfig,
    AnyForgettingConfig,
    BucketConfig,
    ContentConfig,
    EventCountConfig,
    ExponentialConfig,
    ForgettingConfig,
    MixtureConfig,
    NoForgettingConfig,
    PowerConfig,
    StretchedConfig,
    WickelgrenConfig,
)
from recscale.types import Catalogue, Schema

__all__ = [
    "AgeCurve",
    "BucketConfig",
    "ContentConfig",
    "EventCountConfig",
    "ExponentialConfig",
    "Forgetting",
    "ForgettingConfig",
    "Mixture",
    "MixtureConfig",
    "NoForgetting",
    "NoForgettingConfig",
    "PowerConfig",
    "StretchedConfig",
    "Traits",
    "WickelgrenConfig",
    "build_forgetting",
]


def build_forgetting(
    config: AnyForgettingConfig, heads: int, width: int, schema: Schema, catalogue: Catalogue
) -> Forgetting:
    """One curve for each head; width: of the vectors that a model's events are."""
    match config:
        case NoForgettingConfig():
            return NoForgetting()
        case EventCountConfig():
            return EventCount(heads)
        case ContentConfig():
            return Content(heads, width)
        case _:
            return build_curve(config, heads, schema, catalogue)


def build_curve(
    config: AgeCurveConfig, heads: int, schema: Schema, catalogue: Catalogue
) -> AgeCurve:
    """A family of curves over age."""
    match config:
        case MixtureConfig():
            return Mixture(config, heads, schema, catalogue)
        case ExponentialConfig():
            return Exponential(start(heads), config, schema, catalogue)
        case PowerConfig():
            return Power(start(heads, 0.0), config, schema, catalogue)
        case WickelgrenConfig():
            # b starts at softplus(0) = 0.7, the exponential at four months
            return Wickelgren(start(heads, 0.0, 16.0), config, schema, catalogue)
        case StretchedConfig():
            return Stretched(start(heads, 0.0), config, schema, catalogue)
        case BucketConfig():
            return Bucket(start_buckets(heads), config, schema, catalogue)
