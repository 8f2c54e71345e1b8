"""Which history stands before which candidates: rows of a batch as ranges, never as copies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recscale.features.store import Store
from recscale.types import Part

PARTS: tuple[Part, ...] = ("train", "valid", "test")  # the codes 0, 1, 2 in a prepared folder
Ints = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True, slots=True)
class Rows:
    """R rows. Row r: a user, history events start[r]:stop[r] of that log, and its candidates."""

    user: Ints  # [R] user index
    start: Ints  # [R] index into the store's history
    stop: Ints  # [R]
    candidate: Ints  # [M] index into the store's candidates
    offsets: Ints  # [R + 1] row r owns candidate[offsets[r]:offsets[r + 1]]

    def __len__(self) -> int:
        return len(self.user)


def training_rows(store: Store, history: int, users: float = 1.0, events: float = 1.0) -> Rows:
    """Each training candidate once, in windows of at most `history` events of its user.

    Consecutive windows overlap by half, so that no candidate but a user's first ones sees less
    than half of `history`. `users` and `events` are shares: the candidates of some users, and of
    these the newest. Vocabularies stay those of the whole, so that every share is asked the same.
    """
    chosen = _share(store, _of_part(store, "train"), users, events)
    prefix = store.candidates["prefix"][chosen].astype(np.int64)
    stride = max(1, history // 2)
    window = np.where(prefix <= history, 0, -((history - prefix) // stride))
    rows = _group(store, chosen, window)
    first = chosen[rows.offsets[:-1]]
    base = store.history_offsets[rows.user]
    begin = window[rows.offsets[:-1]] * stride
    longest = np.maximum.reduceat(prefix, rows.offsets[:-1]) if len(first) else prefix
    return Rows(rows.user, base + begin, base + longest, rows.candidate, rows.offsets)


def evaluation_rows(
    store: Store, part: Part, history: int, *, positive: bool, limit: int | None = None
) -> Rows:
    """One row a request: candidates that share a user and a prefix, after the newest `history`.

    positive: only candidates with the first label. limit: a sample of that many candidates, drawn
    from the data's digest and so the same for every model and seed.
    """
    chosen = _of_part(store, part)
    if positive:
        chosen = chosen[store.candidates[store.schema.label][chosen] > 0]
    if limit is not None and limit < len(chosen):
        generator = np.random.default_rng(int(store.digest[:15], 16))
        chosen = np.sort(generator.choice(chosen, limit, replace=False))
    prefix = store.candidates["prefix"][chosen].astype(np.int64)
    rows = _group(store, chosen, prefix)
    shared = prefix[rows.offsets[:-1]]
    base = store.history_offsets[rows.user]
    start = base + np.maximum(shared - history, 0)
    return Rows(rows.user, start, base + shared, rows.candidate, rows.offsets)


def _share(store: Store, chosen: Ints, users: float, events: float) -> Ints:
    """The candidates of a share of the users, then the newest share of those, ties included."""
    if users < 1:
        count = len(store.candidate_offsets) - 1
        order = np.random.default_rng(int(store.digest[:15], 16)).permutation(count)
        kept = np.zeros(count, dtype=bool)
        kept[order[: max(1, round(users * count))]] = True  # a smaller share lies in a larger one
        owner = np.searchsorted(store.candidate_offsets, chosen, side="right") - 1
        chosen = chosen[kept[owner]]
    if events < 1 and len(chosen):
        time = store.candidates["time"][chosen]
        oldest = len(chosen) - max(1, round(events * len(chosen)))
        chosen = chosen[time >= np.partition(time, oldest)[oldest]]
    return chosen


def _of_part(store: Store, part: Part) -> Ints:
    return np.flatnonzero(store.candidates["part"] == PARTS.index(part))


def _group(store: Store, chosen: Ints, key: Ints) -> Rows:
    """Neighbours in `chosen` with the same user and key become one row; ranges are left empty."""
    user = np.searchsorted(store.candidate_offsets, chosen, side="right") - 1
    change = (np.diff(user) != 0) | (np.diff(key) != 0)
    begins = np.concatenate([[0], np.flatnonzero(change) + 1]) if len(chosen) else np.zeros(0, int)
    offsets = np.append(begins, len(chosen)).astype(np.int64)
    owner = user[offsets[:-1]]
    return Rows(owner, owner, owner, chosen, offsets)
