"""What of a log the models may read."""

from __future__ import annotations

from pydantic import Field

from recscale.configfile import Settings


class FeaturesConfig(Settings):
    """Shared by every model of a comparison."""

    history: int = Field(default=50, gt=0)  # newest events before a request that models may see
    include: tuple[str, ...] | None = None  # feature columns to use; null: all that the log has
    user_id: bool = False  # the user's id as a user feature: a bias for each user in training
