"""A log of any size into a prepared folder: one pass to fit, one to encode, range after range."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from recscale.data import partition
from recscale.data.control import Control, spoilt
from recscale.data.schema import IN_HISTORY, INTERACTION, ITEM, PART, PREFIX, TIME, USER, Log
from recscale.data.split import (
    TRAIN,
    Split,
    SplitConfig,
    assign_users,
    cuts,
    labelled,
    positive,
)
from recscale.features.config import FeaturesConfig
from recscale.features.fitted import TRAINED, Encoder, Fitted, Wanted, feature, fit, fit_column, see
from recscale.features.folder import Writer
from recscale.features.store import schema_to_json
from recscale.features.vocab import Scale, Vocabulary
from recscale.types import Feature, Schema


def write(  # noqa: PLR0913, `rows` only to make a small log a large one
    log: Log,
    split: SplitConfig,
    config: FeaturesConfig,
    digest: str,
    folder: Path,
    *,
    control: Control = "none",
    rows: int = partition.ROWS,
) -> None:
    """Fit on the training part, encode everything, write the folder.

    In ranges of `rows` rows; the folder is the same, byte for byte, whatever their number.
    """
    wanted, writer = Wanted(log, config), Writer(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        ranges = partition.partitions(log, Path(scratch), rows)
        cut = cuts(log, split)

        def splits() -> Iterator[Split]:
            # One generator for every log: all models of a comparison get the same spoilt log, and
            # range after range it draws what it would draw for all of them at once.
            generator = np.random.default_rng(0)
            for events in ranges:
                part = assign_users(events, log.columns.labels, cut)
                yield replace(part, events=spoilt(part.events, control, generator))

        fitted = fit([see(part, wanted) for part in splits()])
        written = _write_events(writer, splits(), fitted, log)
    features = {name: feature(name, encoder) for name, encoder in fitted.encoders.items()}
    for name in wanted.of_events:
        _keep(writer, f"event/{name}", fitted.encoders[name])
    user_features = _write_users(writer, log, fitted.users, wanted)
    item_features = _write_items(writer, log, fitted.items, written.popularity, wanted)
    schema = Schema(
        item=(features[ITEM], *item_features),
        user=user_features,
        context=tuple(features[name] for name in wanted.context),
        event=tuple(features[name] for name in wanted.event),
        labels=log.columns.labels or (INTERACTION,),
        exposures=bool(log.columns.labels),
        history=config.history,
    )
    counts = {
        "users": len(fitted.users),
        "items": fitted.items.size - 2,
        "events": written.events,
        **dict(zip(("train", "valid", "test"), written.parts.tolist(), strict=True)),
        "dropped": dict(log.dropped),
        "left_out": written.left_out,
    }
    writer.finish(digest, schema_to_json(schema), counts)


@dataclass(slots=True)
class _Written:
    """Sums over the ranges written so far."""

    popularity: np.ndarray  # [V] positive events in the training part
    parts: np.ndarray  # [3] candidates
    events: int
    left_out: dict[str, int]


class _Masks:
    """Which rows are history, which are candidates, which are positive: [rows] each."""

    def __init__(self, events: pl.DataFrame, labels: tuple[str, ...]) -> None:
        everything = np.ones(len(events), dtype=bool)
        asked = events.select(labelled(labels).alias("labelled"), positive(labels).alias("acted"))
        self.history = events[IN_HISTORY].to_numpy()
        self.candidate = asked["labelled"].to_numpy() & everything
        self.positive = asked["acted"].to_numpy() & everything


def _write_events(writer: Writer, splits: Iterable[Split], fitted: Fitted, log: Log) -> _Written:
    """History and candidates, and what is counted on the way."""
    labels = log.columns.labels
    alike = pl.col(IN_HISTORY) == labelled(labels)
    same = bool(log.events.select(alike.all()).collect(engine="streaming").item())
    done = _Written(np.zeros(fitted.items.size, np.int64), np.zeros(3, np.int64), 0, {})
    lengths: list[tuple[np.ndarray, np.ndarray]] = []
    for split in splits:
        events = split.events
        masks = _Masks(events, labels)
        encoded = {name: code.encode(events[name]) for name, code in fitted.encoders.items()}
        lengths.append(_write_range(writer, events, encoded, masks, labels, same))
        train = events[PART].to_numpy() == TRAIN
        acted = encoded[ITEM][train & masks.positive]
        done.popularity += np.bincount(acted, minlength=fitted.items.size)
        done.parts += np.bincount(events[PART].to_numpy()[masks.candidate], minlength=3)
        done.events += len(events)
        for reason, count in split.left_out.items():
            done.left_out[reason] = done.left_out.get(reason, 0) + count
    writer.offsets("history", np.concatenate([past for past, _ in lengths]))
    writer.offsets("candidates", np.concatenate([ahead for _, ahead in lengths]))
    return done


def _write_range(  # noqa: PLR0913
    writer: Writer,
    events: pl.DataFrame,
    encoded: dict[str, np.ndarray],
    masks: _Masks,
    labels: tuple[str, ...],
    same: bool,  # noqa: FBT001, history and candidates are the same rows throughout the log
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of some users; returns how many history events and candidates each has."""
    shared = {ITEM: encoded[ITEM], TIME: events[TIME].to_numpy(), **encoded}
    for name, values in shared.items():
        writer.append("history", name, values[masks.history])
    for name, values in shared.items():
        if same:
            writer.link("candidates", name, "history")
        else:
            writer.append("candidates", name, values[masks.candidate])
    own = {name: events[name].to_numpy() for name in (PREFIX, PART)}
    for label in labels or (INTERACTION,):
        known = events[label].fill_null(0).cast(pl.UInt8).to_numpy() if labels else None
        own[label] = np.ones(len(events), dtype=np.uint8) if known is None else known
    for name, values in own.items():
        writer.append("candidates", name, values[masks.candidate])
    user = events[USER].rle_id().to_numpy()
    users = int(user[-1]) + 1
    return (
        np.bincount(user[masks.history], minlength=users),
        np.bincount(user[masks.candidate], minlength=users),
    )


def _write_users(
    writer: Writer, log: Log, every: pl.DataFrame, wanted: Wanted
) -> tuple[Feature, ...]:
    table = every.lazy()
    if log.users is not None:
        table = table.join(log.users, on=USER, how="left", maintain_order="left")
    users, kinds = table.collect(), dict[str, str](wanted.user)
    if wanted.user_id:
        users, kinds = users.with_columns(user_id=pl.col(USER)), {**kinds, "user_id": "categorical"}
    trained = users.filter(pl.col(TRAINED))
    encoders = {name: fit_column(trained[name], kind) for name, kind in kinds.items()}
    writer.names(users[USER])
    for name, encoder in encoders.items():
        _keep(writer, f"user/{name}", encoder)
        writer.array("users", name, encoder.encode(users[name]))
    return tuple(feature(name, encoder) for name, encoder in encoders.items())


def _write_items(
    writer: Writer, log: Log, vocabulary: Vocabulary, popularity: np.ndarray, wanted: Wanted
) -> tuple[Feature, ...]:
    """Item features in id order; the rows of PADDING and UNSEEN are empty."""
    writer.vocabulary(ITEM, vocabulary.values)
    writer.array("items", "popularity", popularity)
    if log.items is None:
        return ()
    known = vocabulary.values.alias(ITEM).to_frame().lazy()
    items = known.join(log.items, on=ITEM, how="left", maintain_order="left").collect()
    features: list[Feature] = []
    for name, kind in wanted.item.items():
        if kind == "multi":
            features.append(_write_lists(writer, name, items[name]))
            continue
        encoder = fit_column(items[name], kind)
        _keep(writer, f"item/{name}", encoder)
        values = encoder.encode(items[name])
        writer.array("items", name, np.concatenate([np.zeros(2, values.dtype), values]))
        features.append(feature(name, encoder))
    return tuple(features)


def _keep(writer: Writer, name: str, encoder: Encoder) -> None:
    """What was fitted stays in the folder: a server encodes raw values too."""
    if isinstance(encoder, Scale):
        writer.scale(name, encoder.mean, encoder.deviation)
    else:
        writer.vocabulary(name, encoder.values)


def _write_lists(writer: Writer, name: str, column: pl.Series) -> Feature:
    lists = column.fill_null(pl.Series([[]], dtype=column.dtype))
    lengths = lists.list.len().to_numpy().astype(np.int64)
    values = lists.explode(empty_as_null=False)
    vocabulary = Vocabulary.fit(values)
    writer.array("items", name, vocabulary.encode(values))
    writer.array("items", f"{name}.offsets", np.concatenate([[0, 0, 0], lengths.cumsum()]))
    return Feature(name, "multi", vocabulary.size)
