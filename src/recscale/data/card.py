"""What a log is and how good it is: one JSON document, from one pass over the sorted events."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recscale.data import quality, sequences
from recscale.data.order import by_user_and_time, run_starts, user_codes
from recscale.data.schema import ITEM, PART, TIME, DataError, Kind, Log
from recscale.data.split import TEST, TRAIN, VALID, Split, labelled


def card(log: Log, split: Split | None = None) -> dict[str, Any]:
    """The data card, JSON-able. What does not apply to the log is absent. Raises DataError.

    Shares are of events in [0, 1]. `split` saves sorting once more and adds the sizes of its parts.
    """
    events = split.events if split else by_user_and_time(log.events.collect())
    if events.is_empty():
        raise DataError(f"{', '.join(log.files)}: no events")
    items = _item_codes(events[ITEM])
    counts = np.bincount(items)
    counts = counts[counts > 0]
    return {
        "files": list(log.files),
        "rows_read": log.rows_read,
        "kept": events.height,
        "dropped": dict(log.dropped),
        **_sizes(events, counts),
        **_time(events),
        "labels": _labels(events, log),
        "features": _features(events, log),
        "quality": _quality(events, items, counts),
        **({"split": _split(split)} if split else {}),
    }


def _sizes(events: pl.DataFrame, counts: NDArray[np.int64]) -> dict[str, Any]:
    per_user = np.diff(np.append(_first_rows(events), events.height))
    return {
        "users": len(per_user),
        "items": len(counts),
        "events": events.height,
        "events_per_user": {
            "median": float(np.median(per_user)),
            "mean": float(per_user.mean()),
            "max": int(per_user.max()),
        },
        "users_with_one_event": int((per_user == 1).sum()),
        "items_with_one_event": int((counts == 1).sum()),
    }


def _time(events: pl.DataFrame) -> dict[str, Any]:
    times = events[TIME].to_numpy()
    first, last = int(times.min()), int(times.max())
    return {
        "first": _iso(first),
        "last": _iso(last),
        "days": (last - first) / 86_400_000,
        "tied_share": _tied_share(events),
    }


def _tied_share(events: pl.DataFrame) -> float:
    """Events whose user has another one at the same millisecond."""
    start = run_starts(user_codes(events), events[TIME].to_numpy())
    alone = np.bincount(start, minlength=events.height) == 1
    return float(1 - alone.sum() / events.height)


def _labels(events: pl.DataFrame, log: Log) -> dict[str, Any]:
    names = log.columns.labels
    if not names:
        return {}
    known = int(events.select(labelled(names).sum()).item())
    rates = {name: events[name].mean() for name in names}
    return {"labelled_events": known, "positive_rate": rates}


def _features(events: pl.DataFrame, log: Log) -> dict[str, dict[str, Any]]:
    columns = log.columns
    tables = [
        ("context", columns.context, events.lazy()),
        ("event", columns.event, events.lazy()),
        ("item", columns.item, log.items),
        ("user", columns.user, log.users),
    ]
    return {
        place: {name: {"kind": kinds[name], "missing": share} for name, share in missing.items()}
        for place, kinds, table in tables
        if table is not None and kinds
        for missing in [_missing(table, dict(kinds))]
    }


def _missing(table: pl.LazyFrame, kinds: dict[str, Kind]) -> dict[str, float]:
    """The share of rows without a value; an empty list is one."""
    empty = [
        (pl.col(name).is_null() | (pl.col(name).list.len() == 0)).fill_null(value=True).mean()
        if kind == "multi"
        else pl.col(name).is_null().mean()
        for name, kind in kinds.items()
    ]
    found = table.select(e.alias(n) for e, n in zip(empty, kinds, strict=True)).collect()
    return found.row(0, named=True)


def _quality(
    events: pl.DataFrame, items: NDArray[np.int64], counts: NDArray[np.int64]
) -> dict[str, float]:
    packed = quality.compression(items, np.random.default_rng(0))
    lengths = np.diff(np.append(_first_rows(events), events.height))
    rate = sequences.entropy_rate_bits(items, lengths)
    steps = sequences.successors(items, lengths, np.random.default_rng(0))
    return {
        "repeat_share": _repeat_share(events, items),
        "item_gini": quality.gini(counts),
        "item_entropy_bits": quality.entropy_bits(counts),
        "head_share": quality.head_share(counts),
        "zlib_ratio": packed.ordered,
        "zlib_ratio_shuffled": packed.shuffled,
        "order_gain": packed.order_gain,
        **({} if rate is None else {"entropy_rate_bits": rate}),
        **(
            {}
            if steps is None
            else {
                "predictability": steps.ordered,
                "predictability_shuffled": steps.shuffled,
                "order_sensitivity": steps.order_sensitivity,
            }
        ),
    }


def _split(split: Split) -> dict[str, Any]:
    sizes = np.bincount(split.events[PART].to_numpy(), minlength=3)
    parts = {"train": TRAIN, "valid": VALID, "test": TEST}
    told: dict[str, Any] = {"protocol": split.protocol, "left_out": dict(split.left_out)}
    told |= {name: int(sizes[part]) for name, part in parts.items()}
    if split.valid_from is not None and split.test_from is not None:
        told |= {"valid_from": _iso(split.valid_from), "test_from": _iso(split.test_from)}
    return told


def _item_codes(items: pl.Series) -> NDArray[np.int64]:
    """[T] small integers, equal exactly where items are."""
    if items.dtype.is_integer():
        codes = items.cast(pl.Int64).to_numpy()
        low, high = codes.min(), codes.max()
        if high - low <= 2 * len(codes) + 1_000:
            return codes - low
    return items.rank("dense").cast(pl.Int64).to_numpy() - 1


def _repeat_share(events: pl.DataFrame, items: NDArray[np.int64]) -> float:
    """Events whose user met the item before."""
    user = run_starts(user_codes(events))
    pairs = user * np.int64(items.max() + 1) + items
    pairs.sort()
    return float((pairs[1:] == pairs[:-1]).sum() / len(pairs))


def _first_rows(events: pl.DataFrame) -> NDArray[np.int64]:
    return np.unique(run_starts(user_codes(events)))


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
