"""A prepared folder: flat arrays, memory-mapped, that every batch is cut from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recscale.types import Catalogue, Feature, Lists, Schema

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Store:
    """A log as arrays. History and candidates lie user by user, each user in event order."""

    folder: Path
    digest: str
    schema: Schema
    counts: Mapping[str, Any]  # the `data` of a record
    history: Arrays  # "item", "time", context and event features: [events]
    history_offsets: np.ndarray  # [users + 1]
    candidates: Arrays  # "item", "time", "prefix", "part", context features, labels: [candidates]
    candidate_offsets: np.ndarray  # [users + 1]
    users: Arrays  # user features: [users]

    def catalogue(self) -> Catalogue:
        """Item features and training popularity as tensors, for the models."""
        items = self.folder / "items"
        single: dict[str, torch.Tensor] = {}
        multi: dict[str, Lists] = {}
        for feature in self.schema.item[1:]:
            values = torch.from_numpy(np.load(items / f"{feature.name}.npy"))
            if feature.kind == "multi":
                offsets = torch.from_numpy(np.load(items / f"{feature.name}.offsets.npy"))
                multi[feature.name] = Lists(values.long(), offsets)
            else:
                single[feature.name] = values if feature.kind == "numeric" else values.long()
        popularity = torch.from_numpy(np.load(items / "popularity.npy"))
        return Catalogue(single, multi, popularity)


def open_store(folder: Path, history: int) -> Store:
    """Map the arrays of a prepared folder; `history` is the most events a candidate may see."""
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))

    def arrays(group: str) -> dict[str, np.ndarray]:
        paths: dict[str, str] = meta["arrays"][group]
        return {name: np.load(folder / path, mmap_mode="r") for name, path in paths.items()}

    return Store(
        folder=folder,
        digest=meta["digest"],
        schema=schema_from_json({**meta["schema"], "history": history}),
        counts=meta["counts"],
        history=arrays("history"),
        history_offsets=np.load(folder / "history" / "offsets.npy"),
        candidates=arrays("candidates"),
        candidate_offsets=np.load(folder / "candidates" / "offsets.npy"),
        users=arrays("users"),
    )


def schema_to_json(schema: Schema) -> dict[str, Any]:
    """The JSON object of schema.json."""
    return asdict(schema)


def schema_from_json(raw: Mapping[str, Any]) -> Schema:
    """The inverse of `schema_to_json`."""
    groups = {
        group: tuple(Feature(**feature) for feature in raw[group])
        for group in ("item", "user", "context", "event")
    }
    return Schema(
        **groups,
        labels=tuple(raw["labels"]),
        exposures=raw["exposures"],
        history=raw["history"],
    )
