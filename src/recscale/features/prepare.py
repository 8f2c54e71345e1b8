"""A checked log becomes a prepared folder: ids, statistics and flat arrays, written once."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from recscale import data
from recscale.configfile import Settings
from recscale.data.aside import room_for_work, whole_folder
from recscale.data.schema import Log
from recscale.data.split import SplitConfig
from recscale.data.synthetic import SyntheticConfig
from recscale.features.config import FeaturesConfig
from recscale.features.encode import write
from recscale.features.planned import planned_rows
from recscale.features.store import open_store

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
    with room_for_work(prepared) as room:
        log = data.load(recipe.data, home(recipe.data, raw, prepared), room)
        digest = digest_of(recipe, log)
        folder = prepared / digest
        if (folder / "meta.json").exists():
            return folder
        with whole_folder(folder) as aside:
            write(log, recipe.split, recipe.features, digest, aside, control=recipe.data.control)
    planned_rows(open_store(folder, recipe.features.history), recipe.features.history)
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


def summary(folder: Path) -> dict[str, Any]:
    """The digest and the counts of a prepared folder: the `data` of a record."""
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    return {"digest": meta["digest"], **meta["counts"]}
