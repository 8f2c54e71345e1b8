"""A checked log becomes a prepared folder: ids, statistics and flat arrays, written once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recscale import data
from recscale.configfile import Settings
from recscale.data.aside import whole_folder
from recscale.data.control import spoilt
from recscale.data.schema import IN_HISTORY, INTERACTION, ITEM, PART, PREFIX, TIME, USER, Log
from recscale.data.split import TRAIN, Split, SplitConfig, assign, labelled, positive
from recscale.data.synthetic import SyntheticConfig
from recscale.features.config import FeaturesConfig
from recscale.features.folder import Writer
from recscale.features.store import schema_to_json
from recscale.features.vocab import Scale, Vocabulary
from recscale.types import Feature, Schema

FORMAT = 1  # of a prepared folder: raise it when the arrays change their meaning


class Source(Settings):
    """Which log."""

    data: data.DataConfig


class Recipe(Source):
    """Everything that decides the content of a prepared folder."""

    split: SplitConfig
    features: FeaturesConfig


def prepare(recipe: Recipe, raw: Path, prepared: Path) -> Path:
    """The prepared folder of this recipe under `prepared`, made now or found there by digest."""
    log = data.load(recipe.data, home(recipe.data, raw, prepared))
    digest = digest_of(recipe, log)
    folder = prepared / digest
    if (folder / "meta.json").exists():
        return folder
    with whole_folder(folder) as aside:
        split = assign(log, recipe.split)
        # One generator for every log: all models of a comparison get the same spoilt log.
        events = spoilt(split.events, recipe.data.control, np.random.default_rng(0))
        write(log, replace(split, events=events), recipe.features, digest, aside)
    return folder


def home(source: data.DataConfig, raw: Path, prepared: Path) -> Path:
    """Where a log lies. A synthetic one is made, and raw logs may lie where nobody can write."""
    return prepared if isinstance(source, SyntheticConfig) else raw


def digest_of(recipe: Recipe, log: Log) -> str:
    """Sixteen hex digits: the recipe and the content of every file read."""
    content = recipe.model_dump(mode="json")
    del content["features"]["history"]  # decided when batches are cut, not here
    digest = hashlib.blake2b(digest_size=8)
    digest.update(json.dumps([FORMAT, content], sort_keys=True).encode())
    for name in log.files:
        with Path(name).open("rb") as file:
            digest.update(hashlib.file_digest(file, "blake2b").digest())
    return digest.hexdigest()


def write(log: Log, split: Split, config: FeaturesConfig, digest: str, folder: Path) -> None:
    """Fit on the training part, encode everything, write the folder."""
    events = split.events
    writer = Writer(folder)
    train = events[PART].to_numpy() == TRAIN
    wanted = _Wanted(log, config)
    vocabulary = Vocabulary.fit(events.filter(pl.Series(train))[ITEM])
    ids = vocabulary.encode(events[ITEM])
    masks = _Masks(events, log.columns.labels)
    features = _event_features(writer, events, train, wanted)
    _write_events(writer, events, ids, features, masks, log.columns.labels)
    users, user_features = _write_users(writer, log, events, train, wanted)
    item_features = _write_items(writer, log, vocabulary, ids[train & masks.positive], wanted)
    schema = Schema(
        item=(Feature(ITEM, "categorical", vocabulary.size), *item_features),
        user=user_features,
        context=tuple(feature for name, feature, _ in features if name in wanted.context),
        event=tuple(feature for name, feature, _ in features if name in wanted.event),
        labels=log.columns.labels or (INTERACTION,),
        exposures=bool(log.columns.labels),
        history=config.history,
    )
    part = events[PART].to_numpy()[masks.candidate]
    counts = {
        "users": users,
        "items": vocabulary.size - 2,
        "events": len(events),
        **{name: int((part == code).sum()) for code, name in enumerate(("train", "valid", "test"))},
        "dropped": dict(log.dropped),
        "left_out": dict(split.left_out),
    }
    writer.finish(digest, schema_to_json(schema), counts)


class _Wanted:
    """The columns of each role that the settings leave in."""

    def __init__(self, log: Log, config: FeaturesConfig) -> None:
        columns = log.columns
        named = {*columns.item, *columns.user, *columns.context, *columns.event}
        unknown = sorted(set(config.include or ()) - named)
        if unknown:
            raise ValueError(
                f"features.include: the log has no {', '.join(unknown)}; it has "
                f"{', '.join(sorted(named)) or 'no features'}"
            )
        keep = named if config.include is None else set(config.include)
        self.item = {k: v for k, v in columns.item.items() if k in keep}
        self.user = {k: v for k, v in columns.user.items() if k in keep}
        self.context = {k: v for k, v in columns.context.items() if k in keep}
        self.event = {k: v for k, v in columns.event.items() if k in keep}
        self.user_id = config.user_id


class _Masks:
    """Which rows are history, which are candidates, which are positive: [rows] each."""

    def __init__(self, events: pl.DataFrame, labels: tuple[str, ...]) -> None:
        everything = np.ones(len(events), dtype=bool)
        asked = events.select(labelled(labels).alias("labelled"), positive(labels).alias("acted"))
        self.history = events[IN_HISTORY].to_numpy()
        self.candidate = asked["labelled"].to_numpy() & everything
        self.positive = asked["acted"].to_numpy() & everything


Encoded = tuple[str, Feature, np.ndarray]


def _encode(writer: Writer, group: str, kind: str, column: pl.Series, train: np.ndarray) -> Encoded:
    """Fit on the training part, and keep what was fitted: a server encodes raw values too."""
    name = column.name
    if kind == "numeric":
        scale = Scale.fit(column.filter(pl.Series(train)))
        writer.scale(f"{group}/{name}", scale.mean, scale.deviation)
        return name, Feature(name, "numeric", 1), scale.encode(column)
    vocabulary = Vocabulary.fit(column.filter(pl.Series(train)))
    writer.vocabulary(f"{group}/{name}", vocabulary.values)
    return name, Feature(name, "categorical", vocabulary.size), vocabulary.encode(column)


def _event_features(
    writer: Writer, events: pl.DataFrame, train: np.ndarray, wanted: _Wanted
) -> list[Encoded]:
    kinds: Mapping[str, str] = {**wanted.context, **wanted.event}
    return [_encode(writer, "event", kind, events[name], train) for name, kind in kinds.items()]


def _write_events(
    writer: Writer,
    events: pl.DataFrame,
    ids: np.ndarray,
    features: list[Encoded],
    masks: _Masks,
    labels: tuple[str, ...],
) -> None:
    user = events[USER].rle_id().to_numpy()
    users = int(user[-1]) + 1
    shared: dict[str, np.ndarray] = {"item": ids, "time": events[TIME].to_numpy()}
    shared |= {name: values for name, _, values in features}
    for name, values in shared.items():
        writer.array("history", name, values[masks.history])
    writer.offsets("history", np.bincount(user[masks.history], minlength=users))
    same = bool(np.array_equal(masks.history, masks.candidate))
    for name, values in shared.items():
        if same:
            writer.link("candidates", name, "history")
        else:
            writer.array("candidates", name, values[masks.candidate])
    writer.array("candidates", "prefix", events[PREFIX].to_numpy()[masks.candidate])
    writer.array("candidates", "part", events[PART].to_numpy()[masks.candidate])
    for label in labels or (INTERACTION,):
        known = events[label].fill_null(0).cast(pl.UInt8).to_numpy() if labels else None
        values = np.ones(len(events), dtype=np.uint8) if known is None else known
        writer.array("candidates", label, values[masks.candidate])
    writer.offsets("candidates", np.bincount(user[masks.candidate], minlength=users))


def _write_users(
    writer: Writer, log: Log, events: pl.DataFrame, train: np.ndarray, wanted: _Wanted
) -> tuple[int, tuple[Feature, ...]]:
    table = events.select(USER).filter(events[USER] != events[USER].shift(1)).lazy()
    first = events.select(USER).head(1).lazy()
    table = pl.concat([first, table])
    if log.users is not None:
        table = table.join(log.users, on=USER, how="left", maintain_order="left")
    users = table.collect()
    trained = users[USER].is_in(events[USER].filter(pl.Series(train)).unique().implode())
    kinds: dict[str, str] = dict(wanted.user)
    if wanted.user_id:
        users, kinds = users.with_columns(user_id=pl.col(USER)), {**kinds, "user_id": "categorical"}
    known = trained.to_numpy()
    encoded = [_encode(writer, "user", kind, users[name], known) for name, kind in kinds.items()]
    writer.names(users[USER])
    for name, _, values in encoded:
        writer.array("users", name, values)
    return len(users), tuple(feature for _, feature, _ in encoded)


def _write_items(
    writer: Writer, log: Log, vocabulary: Vocabulary, positives: np.ndarray, wanted: _Wanted
) -> tuple[Feature, ...]:
    """Item features in id order; the rows of PADDING and UNSEEN are empty."""
    writer.vocabulary(ITEM, vocabulary.values)
    popularity = np.bincount(positives, minlength=vocabulary.size).astype(np.int64)
    writer.array("items", "popularity", popularity)
    if log.items is None:
        return ()
    known = vocabulary.values.alias(ITEM).to_frame().lazy()
    items = known.join(log.items, on=ITEM, how="left", maintain_order="left").collect()
    every = np.ones(len(items), dtype=bool)
    features: list[Feature] = []
    for name, kind in wanted.item.items():
        if kind == "multi":
            features.append(_write_lists(writer, name, items[name]))
            continue
        _, feature, values = _encode(writer, "item", kind, items[name], every)
        writer.array("items", name, np.concatenate([np.zeros(2, values.dtype), values]))
        features.append(feature)
    return tuple(features)


def _write_lists(writer: Writer, name: str, column: pl.Series) -> Feature:
    lists = column.fill_null(pl.Series([[]], dtype=column.dtype))
    lengths = lists.list.len().to_numpy().astype(np.int64)
    values = lists.explode(empty_as_null=False)
    vocabulary = Vocabulary.fit(values)
    writer.array("items", name, vocabulary.encode(values))
    writer.array("items", f"{name}.offsets", np.concatenate([[0, 0, 0], lengths.cumsum()]))
    return Feature(name, "multi", vocabulary.size)


def summary(folder: Path) -> dict[str, Any]:
    """The digest and the counts of a prepared folder: the `data` of a record."""
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    return {"digest": meta["digest"], **meta["counts"]}
