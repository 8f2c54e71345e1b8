"""Which kind of model a name is, and the colour of each kind: on this page only."""

from __future__ import annotations

FAMILY = {
    "hstu": "generative",
    "transformer": "generative",
    "din": "ctr",
    "dcnv2": "ctr",
    "fusion": "together",
    "gate": "together",
    "shortlist": "together",
    "informed": "together",
    "distilled": "together",
    "popularity": "floor",
    "recent": "floor",
}
OTHER = "other"  # a model that this page does not know yet
# Okabe & Ito's palette: told apart by colour-blind readers too.
COLOUR = {
    "generative": "#0072B2",
    "ctr": "#D55E00",
    "together": "#8E4A9E",
    "floor": "#6B7280",
    OTHER: "#009E73",
}


def family(model: str) -> str:
    """The family of a model's name in the settings."""
    return FAMILY.get(model, OTHER)
