"""Which kind of model a name is, and the colour of each kind: on this page only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

FAMILY = {
    "hstu": "generative",
    "transformer": "generative",
    "mixer": "generative",
    "linear": "generative",
    "din": "ctr",
    "din_long": "ctr",
    "dcnv2": "ctr",
    "dlrm": "ctr",
    "finalmlp": "ctr",
    "fusion": "together",
    "gate": "together",
    "shortlist": "together",
    "informed": "together",
    "distilled": "together",
    "popularity": "floor",
    "recent": "floor",
}
OTHER = "other"  # a model that this page does not know yet
TWINS = "twins"  # combined from models of one family: the control of a pair of two
# Okabe & Ito's palette: told apart by colour-blind readers too.
COLOUR = {
    "generative": "#0072B2",
    "ctr": "#D55E00",
    "together": "#8E4A9E",
    TWINS: "#CC79A7",
    "floor": "#6B7280",
    OTHER: "#009E73",
}
SINGLE = ("generative", "ctr")


def family(model: str) -> str:
    """The family of a model's name in the settings."""
    return FAMILY.get(model, OTHER)


def family_of(config: Mapping[str, Any]) -> str:
    """The family of a run, which members decide as well."""
    members = [family(member["model"]["name"]) for member in config.get("members", {}).values()]
    alike = len(members) > 1 and len(set(members)) == 1
    return TWINS if alike else family(config["model"]["name"])
