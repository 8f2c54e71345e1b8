"""Finished runs whose models a combiner is built from: found beside it, or trained inside it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from recscale import configfile, record
from recscale.config import RunConfig, load
from recscale.features.store import Store
from recscale.types import Record

Train = Callable[[RunConfig, Path], None]  # leaves model.ckpt and a record in the folder


def weights(name: str, config: RunConfig, folder: Path, store: Store, train: Train) -> Path:
    """The run folder of a combiner's member; trained now where no run of its settings is there.

    folder: the combiner's.
    """
    wanted = config.of_member(name)
    own = folder / record.MEMBERS / name
    for place in (own, *_beside(folder)):
        if _is_run(place, wanted, store.digest):
            print(f"{folder.name}: members.{name} is {place}", file=sys.stderr)  # noqa: T201
            return place
    train(wanted, own)
    return own


def total(found: Record, members: dict[str, Path]) -> Record:
    """The record of a combiner with what its members cost added, and named in `members`."""
    if not members:
        return found
    parts = {name: _part(record.read(place), place) for name, place in members.items()}
    cost, train = dict(found["cost"]), dict(found.get("train", {}))
    cost["train_flops"] = cost.get("train_flops", 0) + _sum(parts, "train_flops")
    for key in ("seconds", "core_seconds"):
        train[key] = train.get(key, 0) + _sum(parts, key)
    return {**found, "cost": cost, "train": train, "members": parts}


def load_weights(model: torch.nn.Module, folder: Path) -> None:
    """Of the run in `folder`, into `model`."""
    model.load_state_dict(torch.load(folder / "model.ckpt", weights_only=True))


def _part(found: Record, place: Path) -> dict[str, Any]:
    train = found.get("train", {})
    named = {
        "run": place.name,
        "seed": found["seed"],
        "train_flops": found["cost"].get("train_flops"),
    }
    timed = {key: train.get(key) for key in ("seconds", "core_seconds")}
    return {key: value for key, value in {**named, **timed}.items() if value is not None}


def _sum(parts: dict[str, dict[str, Any]], key: str) -> Any:
    return sum(part.get(key, 0) for part in parts.values())


def _beside(folder: Path) -> Iterator[Path]:
    around = folder.resolve().parent
    for pattern in ("*", f"*/{record.MEMBERS}/*"):
        yield from (path.parent for path in sorted(around.glob(f"{pattern}/{record.FILE}")))


def _is_run(place: Path, wanted: RunConfig, digest: str) -> bool:
    """Finished, with these settings and this data. A broken neighbour is not ours to judge."""
    if not (place / "model.ckpt").exists():
        return False
    try:
        found, settings = record.read(place), load(place / "config.yaml")
    except (record.RecordError, configfile.ConfigError):
        return False
    interrupted = "train" not in found and (place / "last.ckpt").exists()
    return settings == wanted and found["data"]["digest"] == digest and not interrupted
