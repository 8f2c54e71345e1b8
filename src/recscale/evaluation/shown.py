"""Every behaviour measure of the lists that a run would have shown."""

from __future__ import annotations

from recscale.evaluation import behaviour
from recscale.evaluation.context import Context, categories
from recscale.evaluation.predictions import Retrieval
from recscale.evaluation.protocol import Seen
from recscale.features.store import Store


def measure(retrieval: Retrieval, about: Context, store: Store, seen: Seen) -> dict[str, float]:
    """Name -> value; what the events or the log leave undefined is absent."""
    found = retrieval.behaviour(store.catalogue().popularity.numpy())
    found |= behaviour.memory(retrieval.rank, about.memorised)
    mix = categories(store)
    if mix is not None and retrieval.rank.size:
        distance = behaviour.category_js(retrieval.top, retrieval.target, mix)
        found |= {} if distance is None else {"category_js": distance}
    if seen == "removed":  # then no list can repeat, whatever the model
        return {name: value for name, value in found.items() if "repeat" not in name}
    return found
