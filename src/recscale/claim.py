"""A run's folder: whose it is, and whether what is in it can be gone on with."""

from __future__ import annotations

import json
from pathlib import Path

from recscale import configfile
from recscale.config import RunConfig, load
from recscale.features.store import Store, schema_to_json


def claim(folder: Path, config: RunConfig, store: Store, *, resume: bool) -> None:
    """Write the settings, or see that they are the ones a resumed run began with."""
    settings = folder / "config.yaml"
    if resume:
        if not settings.exists():
            raise ValueError(f"{folder}: nothing to resume, there is no config.yaml")
        if load(settings) != config:
            raise ValueError(f"{settings}: the run to resume began with other settings")
        require_same_data(folder, store)
        return
    if (folder / "record.json").exists():
        raise ValueError(f"{folder}: holds a finished run; remove it or choose another folder")
    if (folder / "last.ckpt").exists():
        raise ValueError(f"{folder}: holds an unfinished run; --resume goes on with it")
    folder.mkdir(parents=True, exist_ok=True)
    for stale in ("events.csv", "best.ckpt", "model.ckpt", "predictions.npz"):
        (folder / stale).unlink(missing_ok=True)
    schema = {"digest": store.digest, **schema_to_json(store.schema)}
    (folder / "schema.json").write_text(json.dumps(schema, indent=1), encoding="utf-8")
    settings.write_text(configfile.dump(config), encoding="utf-8")  # last: now there is a run


def require_same_data(folder: Path, store: Store) -> None:
    """Ids mean what they meant in training only over the same prepared data."""
    began = json.loads((folder / "schema.json").read_text(encoding="utf-8"))["digest"]
    if began != store.digest:
        raise ValueError(f"{folder}: trained on data {began}, found {store.digest}")
