"""What is known of held-out events before any model is asked. R targets, V item ids."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recscale.features.requests import PARTS
from recscale.features.store import Store
from recscale.types import UNSEEN, Batch, Lists

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Context:
    """Of R held-out events, in the order in which they are ranked: the same for every model."""

    length: NDArray[np.int64]  # [R] events of the history that the request sees
    age: NDArray[np.float64]  # [R] days since the item's first event; NaN: training never saw it
    activity: NDArray[np.int64]  # [R] training events of the user
    memorised: NDArray[np.bool_]  # [R] training holds this item right after the history's last one


def context(store: Store, batches: Iterable[Batch]) -> Context:
    """Of every positive candidate in `batches`."""
    first, active, known = _first_times(store), _activity(store), _transitions(store)
    parts = [_of_batch(batch, store, first, active, known) for batch in batches]
    if not parts:
        nothing = np.zeros(0, np.int64)
        return Context(nothing, np.zeros(0), nothing, nothing > 0)
    return Context(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def categories(store: Store) -> csr_matrix | None:
    """[V, C], each row the category mix of an item; None in a log without item categories.

    The first feature with lists of ids (genres, tags), else the first with one id an item.
    """
    catalogue = store.catalogue()
    for feature in store.schema.item[1:]:
        if feature.kind == "multi":
            return _mix(catalogue.multi[feature.name], feature.size)
    for feature in store.schema.item[1:]:
        if feature.kind == "categorical":
            ids = catalogue.single[feature.name].numpy()
            ones, rows = np.ones(len(ids)), np.arange(len(ids) + 1)
            return csr_matrix((ones, ids, rows), shape=(len(ids), feature.size))
    return None


def _of_batch(
    batch: Batch, store: Store, first: np.ndarray, active: np.ndarray, known: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    past, ahead = batch.history, batch.candidates
    chosen = ahead.labels[store.schema.label].numpy() > 0
    offsets = ahead.offsets.numpy()
    row = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[chosen]
    item, length = ahead.features["item"].numpy()[chosen], ahead.prefix.numpy()[chosen]
    age = np.where(item == UNSEEN, np.nan, (ahead.time.numpy()[chosen] - first[item]) / DAY_MS)
    events = np.append(past.features["item"].numpy(), UNSEEN)  # whoever has no event ends in none
    last = events[np.where(length > 0, past.offsets.numpy()[row] + length - 1, -1)]
    seen = (last != UNSEEN) & (item != UNSEEN) & np.isin(_key(last, item, store), known)
    return length, age, active[batch.user["user_index"].numpy()[row]], seen


def _first_times(store: Store) -> np.ndarray:
    """[V] milliseconds of each item's first event."""
    item, time = store.history["item"], store.history["time"]
    latest_first = np.argsort(time, kind="stable")[::-1]
    first = np.full(store.schema.num_items, np.iinfo(np.int64).max)
    first[item[latest_first]] = time[latest_first]  # the last to be written is the earliest
    return first


def _activity(store: Store) -> np.ndarray:
    """[users] positive training events."""
    user = _users(store)
    return np.bincount(user[_trained(store)], minlength=len(store.candidate_offsets) - 1)


def _transitions(store: Store) -> np.ndarray:
    """Keys of the pairs (item that the history ended in, item acted on) of the training part."""
    prefix = store.candidates["prefix"]
    chosen = np.flatnonzero(_trained(store) & (prefix > 0))
    place = store.history_offsets[_users(store)[chosen]] + prefix[chosen] - 1
    before, item = store.history["item"][place], store.candidates["item"][chosen]
    return np.unique(_key(before, item, store))


def _key(before: np.ndarray, item: np.ndarray, store: Store) -> np.ndarray:
    return before.astype(np.int64) * store.schema.num_items + item


def _trained(store: Store) -> np.ndarray:
    train = store.candidates["part"] == PARTS.index("train")
    return train & (store.candidates[store.schema.label] > 0)


def _users(store: Store) -> np.ndarray:
    """[candidates] user index."""
    lengths = np.diff(store.candidate_offsets)
    return np.repeat(np.arange(len(lengths)), lengths)


def _mix(lists: Lists, size: int) -> csr_matrix:
    """[V, size]: an item of three genres counts a third in each."""
    offsets = lists.offsets.numpy()
    lengths = np.diff(offsets)
    share = np.repeat(1 / np.maximum(lengths, 1), lengths)
    return csr_matrix((share, lists.values.numpy(), offsets), shape=(len(lengths), size))
