"""A log of any size with a known truth: how fast categories are forgotten, each click's odds.

A user's affinity to category c at time t is

    taste[u, c] + boost * log2(1 + sum over past clicks j in c of 2^(-(t - t_j) / half_life[c]))

and it decides both what is shown and what is clicked. So a half-life is that of one click's part in
a sum, as in a model's pool of weighted events; the sum enters by its logarithm, which never
saturates: under a cap a user's third click would hide how fast the first two fade. A model that
knows the half-lives can reach the stored click probabilities; nothing reaches further.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field

from recscale.data.aside import whole_folder
from recscale.data.history import SourceSettings
from recscale.data.schema import ITEM, TIME, USER
from recscale.data.simulate import Session, World, calibrated, simulate

FORMAT = 2  # raise it when the same settings would give another log
CLICK, PROBABILITY, CATEGORY, SEGMENT = "click", "click_probability", "category", "segment"
EVENTS_PER_BLOCK = 1_000_000  # bounds memory; part of the truth, since each block has its own seed


class SyntheticConfig(SourceSettings):
    """A planted log. Defaults: about 80,000 exposures, a third of them clicked, in a second."""

    source: Literal["synthetic"] = "synthetic"
    users: int = Field(default=2_000, ge=1, le=1 << 30)
    items: int = Field(default=1_000, ge=1, le=1 << 30)
    events_per_user: int = Field(default=40, ge=1, le=100_000)  # the mean; users differ widely
    categories: int = Field(default=16, ge=2, le=256)
    days: float = Field(default=30, gt=0, le=3_650)
    # log-spaced over the categories, so that one clock cannot fit all of them
    shortest_half_life_minutes: float = Field(default=10, gt=0)
    longest_half_life_minutes: float = Field(default=14 * 24 * 60, gt=0)
    boost: float = Field(default=0.5, ge=0, le=2)  # what recent clicks add; taste adds 0 to 1
    click_rate: float = Field(default=0.33, gt=0.01, lt=0.9)  # held to within a few points
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True, slots=True)
class Files:
    """Where a synthetic log lies."""

    folder: Path

    @property
    def events(self) -> list[Path]:
        """Shards by user: user, item, time, click, click_probability; in (user, time) order."""
        return sorted(self.folder.glob("events-*.parquet"))

    @property
    def items(self) -> Path:
        """item, category, quality (logit of its own)."""
        return self.folder / "items.parquet"

    @property
    def users(self) -> list[Path]:
        """user, segment, taste (List of one share a category), by shard."""
        return sorted(self.folder.glob("users-*.parquet"))

    @property
    def truth(self) -> Path:
        """truth.json: half_life_minutes by category, events, click rate, best possible log loss."""
        return self.folder / "truth.json"


def generate(config: SyntheticConfig, root: Path) -> Files:
    """The log of `config` under root/synthetic/, written once and reused after.

    The same settings give the same bytes whatever the number of threads; memory does not grow
    with the number of users.
    """
    files = Files(root / "synthetic" / _digest(config))
    if files.truth.exists():
        return files
    with whole_folder(files.folder) as aside:
        _write(config, Files(aside))
    return files


def _digest(config: SyntheticConfig) -> str:
    """What changes the files changes the name; the others only change how they are read."""
    text = config.model_dump_json(exclude=set(SourceSettings.model_fields))
    return hashlib.sha256(f"{FORMAT} {text}".encode()).hexdigest()[:16]


def _write(config: SyntheticConfig, files: Files) -> None:
    sessions = Session(config.days * 86_400, config.events_per_user)
    world = calibrated(_world(config), config.click_rate, sessions, [config.seed, 0, 0])
    pl.DataFrame(
        {ITEM: world.item_ids, CATEGORY: world.item_category, "quality": world.quality}
    ).sort(ITEM).write_parquet(files.items)
    per_block = max(1, EVENTS_PER_BLOCK // config.events_per_user)
    events, clicks, loss = 0, 0, 0.0
    for block, first in enumerate(range(0, config.users, per_block)):
        users = np.arange(first, min(first + per_block, config.users), dtype=np.int32)
        made = _block(world, users, sessions, np.random.default_rng([config.seed, block + 1]))
        made.exposures.write_parquet(files.folder / f"events-{block:05}.parquet", compression="lz4")
        made.users.write_parquet(files.folder / f"users-{block:05}.parquet")
        events += made.exposures.height
        clicks += int(made.exposures[CLICK].sum())
        loss += made.surprise
    truth = {
        "half_life_minutes": (world.half_life_seconds / 60).tolist(),
        "boost": world.boost,
        "scale": world.scale,
        "bias": world.bias,
        "events": events,
        "click_rate": clicks / events,
        "best_logloss": loss / events,
        "config": config.model_dump(mode="json"),
    }
    files.truth.write_text(json.dumps(truth, indent=1), encoding="utf-8")


def _world(config: SyntheticConfig) -> World:
    """Everything users share, drawn once from the seed. Items lie category by category."""
    rng = np.random.default_rng([config.seed, 0])
    category = np.sort(rng.integers(0, config.categories, config.items)).astype(np.int32)
    # Zipf over the whole catalogue, in an order that has nothing to do with the category
    popularity = 1.0 / (1.0 + rng.permutation(config.items)) ** 0.9
    return World(
        item_ids=rng.permutation(config.items).astype(np.int32),
        item_category=category,
        quality=rng.normal(0, 0.5, config.items).astype(np.float32),
        popularity=np.append(0.0, np.cumsum(popularity, dtype=np.float64)),
        category_end=np.searchsorted(category, np.arange(config.categories), side="right"),
        half_life_seconds=60
        * np.geomspace(
            config.shortest_half_life_minutes,
            config.longest_half_life_minutes,
            config.categories,
        ),
        bias=0.0,  # until calibrated
        boost=config.boost,
    )


@dataclass(frozen=True, slots=True)
class _Block:
    exposures: pl.DataFrame
    users: pl.DataFrame
    surprise: float  # summed log loss of the true click probability


def _block(
    world: World, users: NDArray[np.int32], sessions: Session, rng: np.random.Generator
) -> _Block:
    made = simulate(world, len(users), sessions, rng)
    p, click = made.probability, made.click
    exposures = pl.DataFrame(
        {
            USER: np.repeat(users, made.lengths),
            ITEM: made.item,
            TIME: made.time,
            CLICK: click,
            PROBABILITY: p,
        }
    )
    favourite = made.taste.argmax(axis=1)
    # three users in ten are filed under the wrong segment, as in life
    wrong = rng.random(len(users)) < 0.3
    segment = np.where(wrong, rng.integers(0, len(world.category_end), len(users)), favourite)
    about = pl.DataFrame({USER: users, SEGMENT: segment.astype(np.int32), "taste": made.taste})
    surprise = -np.log(np.where(click == 1, p, 1 - p), dtype=np.float64).sum()
    return _Block(exposures, about, float(surprise))
