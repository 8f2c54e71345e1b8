"""Which curve a model forgets by: one key, `model.forgetting.kind`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from recscale.configfile import Settings
from recscale.models.settings import Count, Positive


class NoForgettingConfig(Settings):
    """Every event counts in full, whatever its age."""

    kind: Literal["none"] = "none"


class CurveSettings(Settings):
    """What every curve over age lets a user choose.

    A category or a user starts from the curve of all and moves away only as far as its events ask:
    `spread` is the standard deviation of a normal prior on each of its parameters.
    """

    by_category: str | None = None  # an item feature: each of its values has a curve of its own
    by_user: bool = False  # each user has; needs features.user_id
    spread: Positive = 2.0


class MixtureConfig(CurveSettings):
    """A floor and exponentials with fixed, log-spaced time constants.

    Eight of them fit power-law, stretched and Wickelgren curves to 2 % between a minute and three
    years.
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


class ExponentialConfig(CurveSettings):
    """exp(-t / S), above a floor."""

    kind: Literal["exponential"] = "exponential"


class PowerConfig(CurveSettings):
    """(1 + t / S)^(-b), above a floor: Wixted's curve."""

    kind: Literal["power"] = "power"


class WickelgrenConfig(CurveSettings):
    """(1 + t / S)^(-b) exp(-r t), above a floor: interference, then decay."""

    kind: Literal["wickelgren"] = "wickelgren"


class StretchedConfig(CurveSettings):
    """exp(-(t / S)^p) with p < 1, above a floor."""

    kind: Literal["stretched"] = "stretched"


class BucketConfig(CurveSettings):
    """A free weight for each half octave of age, as in HSTU's table: it may rise again."""

    kind: Literal["bucket"] = "bucket"


class EventCountConfig(Settings):
    """exp(-a n) after n later events: ALiBi (Press et al. 2022), blind to time."""

    kind: Literal["event_count"] = "event_count"


class ContentConfig(Settings):
    """A product of gates of the later events, each read from the event itself.

    The forget gate of the Forgetting Transformer (Lin et al. 2025), blind to time.
    """

    kind: Literal["content"] = "content"


AgeCurveConfig = (
    MixtureConfig
    | ExponentialConfig
    | PowerConfig
    | WickelgrenConfig
    | StretchedConfig
    | BucketConfig
)
AnyForgettingConfig = NoForgettingConfig | AgeCurveConfig | EventCountConfig | ContentConfig
ForgettingConfig = Annotated[AnyForgettingConfig, Field(discriminator="kind")]
