"""What the server is told, and how much of it at once. Pydantic checks each field."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StrictInt, StrictStr

MAX_CANDIDATES = 10_000
MAX_EVENTS = 1_000
MAX_LIST = 1_000
FAR = 2**53  # milliseconds: beyond, JSON readers disagree on integers

Text = Annotated[StrictStr, Field(max_length=256)]
Name = Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)] | Text
Value = Name | FiniteFloat | None  # of a feature; null, like a missing one, is an unknown value
Features = Annotated[dict[Text, Value], Field(max_length=256)]
Time = Annotated[StrictInt, Field(ge=0, le=FAR)]  # milliseconds since 1970


class Message(BaseModel):
    """Unknown fields are refused: a misspelt one would be silently without effect."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Score(Message):
    """Score these items for a user."""

    user: Name
    items: Annotated[list[Name], Field(min_length=1, max_length=MAX_CANDIDATES)]
    time: Time | None = None  # now
    context: Features = {}
    features: Features = {}  # of the user: needed for users whom the log does not know


class Recommend(Message):
    """The best of the catalogue for a user."""

    user: Name
    count: Annotated[StrictInt, Field(ge=1, le=MAX_LIST)] = 10
    seen: Literal["kept", "removed"] = "kept"
    time: Time | None = None
    context: Features = {}
    features: Features = {}


class Event(Message):
    """Something a user did."""

    item: Name
    time: Time | None = None
    features: Features = {}  # context and event features


class Events(Message):
    """What a user did, oldest first."""

    user: Name
    events: Annotated[list[Event], Field(min_length=1, max_length=MAX_EVENTS)]
