"""What every source lets a user choose, and which rows later requests may see: IN_HISTORY."""

from __future__ import annotations

from typing import Literal

import polars as pl

from recscale.configfile import Settings
from recscale.data.control import Control
from recscale.data.schema import IN_HISTORY


class SourceSettings(Settings):
    """What every source lets a user choose."""

    # positive suits logs with few clicks, where a history of exposures is mostly what was ignored
    history: Literal["all", "positive"] = "all"
    control: Control = "none"  # see data/control.py


def in_history(settings: SourceSettings, labels: tuple[str, ...]) -> pl.Expr:
    """The IN_HISTORY column; a history-only row (null label) always belongs to the history."""
    if settings.history == "all" or not labels:
        return pl.lit(value=True).alias(IN_HISTORY)
    return (pl.col(labels[0]).is_null() | (pl.col(labels[0]) == 1)).alias(IN_HISTORY)
