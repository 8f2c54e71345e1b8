"""Training rows of a large log: worked out once for each length of history, then mapped."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from recscale.data.aside import whole_folder
from recscale.features.folder import Writer
from recscale.features.requests import Rows, training_rows
from recscale.features.store import Store

CANDIDATES = 4_000_000  # worked out at a time, and at every start up to here: half a second
NAMES = tuple(field.name for field in fields(Rows))


def planned_rows(
    store: Store,
    history: int,
    users: float = 1.0,
    events: float = 1.0,
    at_once: int = CANDIDATES,
) -> Rows:
    """As `requests.training_rows`; those of a whole log of more than `at_once` candidates are kept.

    A share of a log is worked out in memory: which events are the newest concerns all of them.
    """
    if (users, events) != (1, 1) or len(store.candidates["part"]) <= at_once:
        return training_rows(store, history, users, events)
    folder = store.folder / "planned" / f"history-{history}"
    if not folder.exists():
        with whole_folder(folder) as aside:
            _write(store, history, at_once, aside)
    return Rows(
        **{name: np.load(folder / "train" / f"{name}.npy", mmap_mode="r") for name in NAMES}
    )


def _write(store: Store, history: int, at_once: int, folder: Path) -> None:
    """Users in turn, so many that they have about `at_once` candidates together."""
    place = store.candidate_offsets // at_once
    edges = np.append(np.flatnonzero(np.diff(place, prepend=-1)), len(place) - 1)
    writer, ends = Writer(folder), 0
    for first, stop in zip(edges[:-1], edges[1:], strict=True):
        found = _rows_of_users(store, history, int(first), int(stop))
        found = replace(found, offsets=found.offsets[:-1] + ends)
        ends += len(found.candidate)
        for name in NAMES:
            writer.append("train", name, getattr(found, name))
    writer.append("train", "offsets", np.array([ends]))


def _rows_of_users(store: Store, history: int, first: int, stop: int) -> Rows:
    """The rows of users first:stop, in terms of the whole store."""
    low, high = store.candidate_offsets[[first, stop]]
    some = replace(
        store,
        history_offsets=store.history_offsets[first : stop + 1],
        candidates={name: values[low:high] for name, values in store.candidates.items()},
        candidate_offsets=store.candidate_offsets[first : stop + 1] - low,
    )
    rows = training_rows(some, history)
    return replace(rows, user=rows.user + first, candidate=rows.candidate + low)
