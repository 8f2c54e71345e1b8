"""Ranges that more than one model's settings share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Layers = Annotated[tuple[Count, ...], Field(min_length=1)]  # widths, from the input on
