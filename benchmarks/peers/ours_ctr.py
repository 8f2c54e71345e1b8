"""One measurement of ours for ctr_speed.py: write the shared arrays, or train and score.

    python ours_ctr.py FOLDER '{"export": DATA, "include": [...]}' | '{"model": "din", ...}'

Ends in one JSON document; predictions for the test part go to FOLDER/<name>-{first,best}.npy.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recscale import models
from recscale.data import SplitConfig
from recscale.data.sources.kuairand import KuaiRandPure
from recscale.evaluation import protocol
from recscale.evaluation.predictions import Ranking
from recscale.features.batches import Loader, in_order
from recscale.features.config import FeaturesConfig
from recscale.features.prepare import Recipe, prepare
from recscale.features.requests import evaluation_rows, training_rows
from recscale.features.store import Store, open_store
from recscale.models import DCNv2Config, DINConfig, jagged
from recscale.models.clock import BUCKETS, age_seconds, bucket
from recscale.training.config import TrainingConfig
from recscale.training.fit import fit, peak_memory_mb
from recscale.types import Batch, Feature, Part, Schema

HISTORY = 50
EVALUATION_ROWS = 256


def export(data: Path, include: list[str] | None, folder: Path) -> None:
    """Prepare the log; write the arrays of every part and the peer's feature maps."""
    recipe = Recipe(
        data=KuaiRandPure(),
        split=SplitConfig(valid=0.1, test=0.2),
        features=FeaturesConfig(include=None if include is None else tuple(include)),
    )
    made = prepare(recipe, data, folder / "prepared")
    (folder / "prepared.txt").write_text(str(made))
    store = open_store(made, HISTORY)
    for part in ("train", "valid", "test"):
        rows = evaluation_rows(store, part, HISTORY, positive=False)
        batches = [_columns(store, batch) for batch in in_order(store, rows, 1024)]
        joined = {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}
        np.savez(folder / f"{part}.npz", **joined)
    longest = joined["tags"].shape[1] if "tags" in joined else 0
    for model in ("din", "dcnv2"):
        described = {"dataset_id": "bench", "labels": ["click"],
                     "features": _described(store.schema, model, longest)}  # fmt: skip
        (folder / f"feature_map_{model}.json").write_text(json.dumps(described))


def _columns(store: Store, batch: Batch) -> dict[str, np.ndarray]:
    """One row for each candidate, its newest 50 events padded on the right."""
    schema, past, ahead = store.schema, batch.history, batch.candidates
    row = jagged.owner(ahead.offsets)
    catalogue = store.catalogue()
    item = ahead.features["item"]
    columns = {"item": item, "click": ahead.labels["click"].long()}
    columns |= {f.name: batch.user[f.name][row] for f in schema.user}
    columns |= {f.name: ahead.features[f.name] for f in schema.context}
    columns |= {name: values[item] for name, values in catalogue.single.items()}
    for name, lists in catalogue.multi.items():
        padded = jagged.pad(lists.values, jagged.layout(lists.offsets))
        columns[name] = padded[item]
    owner = jagged.owner(past.offsets)
    place = torch.arange(len(past.time)) - past.offsets[owner]
    where = jagged.Layout(len(past.lengths), HISTORY, owner * HISTORY + place)
    events = dict(past.features)
    if "author_id" in catalogue.single:
        events["author_id"] = catalogue.single["author_id"][events["item"]]
    for name, values in events.items():
        columns[f"{name}_history"] = jagged.pad(values, where)[row]
    never = past.time.new_zeros(())
    seen = jagged.newest(past.time, never, past.offsets, row, ahead.prefix)
    away = bucket(age_seconds(ahead.time, seen))
    columns["gap"] = torch.where(ahead.prefix > 0, away, BUCKETS) + 1
    columns["user_index"] = batch.user["user_index"][row]
    return {name: values.numpy() for name, values in columns.items()}


def _described(schema: Schema, model: str, longest: int) -> list[dict[str, Any]]:
    """The peer's feature map: single columns, then sequences that share their item's table."""
    found: dict[str, Any] = {}
    for feature in (*schema.item, *schema.user, *schema.context):
        if feature.kind == "multi":
            found[feature.name] = _sequence(feature, longest)
        elif feature.kind == "numeric":
            found[feature.name] = {"source": "", "type": "numeric"}
        else:
            found[feature.name] = _single(feature)
    found["gap"] = _single(Feature("gap", "categorical", BUCKETS + 2))
    shared = {feature.name for feature in (*schema.item, *schema.context)}
    for feature in (*schema.item, *schema.context, *schema.event):
        if feature.name not in ("item", "author_id", "tab", "hour", "clicked", "viewed_long"):
            continue
        name = f"{feature.name}_history"
        found[name] = _sequence(feature, HISTORY)
        if feature.name in shared:
            found[name]["share_embedding"] = feature.name
        if feature.name == "item" and model == "din":
            del found[name]["feature_encoder"]  # its attention pools it
    return [{name: described} for name, described in found.items()]


def _single(feature: Feature) -> dict[str, Any]:
    return {"source": "", "type": "categorical", "padding_idx": 0, "vocab_size": feature.size}


def _sequence(feature: Feature, length: int) -> dict[str, Any]:
    pooled = {"feature_encoder": "layers.MaskedAveragePooling()", "max_len": length}
    return {**_single(feature), "type": "sequence", **pooled}


class Scorer:
    """Scores the parts of the log, beside the clock of training."""

    def __init__(self, model: Any, store: Store, asked: dict[str, Any], folder: Path) -> None:
        self.model, self.store, self.asked, self.folder = model, store, asked, folder
        self.speed = 0.0  # samples a core-second
        self.paused = 0.0  # core-seconds that are not training

    def scored(self, part: Part) -> Ranking:
        """Every exposure of a part after its newest events."""
        rows = evaluation_rows(self.store, part, HISTORY, positive=False)
        batches = in_order(self.store, rows, EVALUATION_ROWS)
        return protocol.ranking(self.model, batches, self.store.schema)

    def keep(self, which: str) -> None:
        """Predictions for the test part, as probabilities."""
        started = time.process_time()
        score = self.scored("test").score.astype(np.float64)
        self.speed = len(score) / (time.process_time() - started)
        np.save(self.folder / f"{self.asked['name']}-{which}.npy", 1 / (1 + np.exp(-score)))

    def validate(self) -> float:
        """The validation gauc; after one epoch of a run for speed, the test part too."""
        started = time.process_time()
        if self.asked["once"] and not self.paused:
            self.keep("first")
        value = self.scored("valid").metrics["gauc"]
        self.paused += time.process_time() - started
        return value


def measure(folder: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Train by the product's own loop, its set-up and checkpoint included, and score."""
    store = open_store(Path((folder / "prepared.txt").read_text()), HISTORY)
    rows = training_rows(store, HISTORY)
    size = max(1, round(asked["batch"] * len(rows) / len(rows.candidate)))
    loader = Loader(store, rows, size, asked["seed"])
    torch.manual_seed(asked["seed"])
    model = models.build(_model(asked), store.schema, store.catalogue())
    scorer = Scorer(model, store, asked, folder)
    settings = _training(asked, len(loader))
    with tempfile.TemporaryDirectory() as temporary:
        started = time.process_time()
        trained = fit(model, loader, settings, scorer.validate, Path(temporary), resume=False)
        seconds = time.process_time() - started - scorer.paused
        model.load_state_dict(torch.load(Path(temporary) / "best.ckpt", weights_only=True))
    if not asked["once"]:
        scorer.keep("best")
    return {
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "score_samples_per_core_second": scorer.speed,
        "epochs": [{"samples_per_core_second": trained.events / seconds}],
        "best_step": trained.best_step,
        "steps_an_epoch": len(loader),
        "peak_memory_mb": peak_memory_mb(),
    }


def _model(asked: dict[str, Any]) -> DINConfig | DCNv2Config:
    shared = {name: asked[name] for name in ("width", "dropout")} | {
        "hidden": tuple(asked["hidden"])
    }
    if asked["model"] == "din":
        return DINConfig(attention=asked["attention"], **shared)
    return DCNv2Config(crosses=asked["crosses"], structure=asked["structure"], **shared)


def _training(asked: dict[str, Any], epoch: int) -> TrainingConfig:
    once = asked["once"]
    return TrainingConfig(
        steps=asked["epochs"] * epoch,
        lr=asked["lr"],
        metric="gauc",
        validate_every=epoch if once else max(1, epoch // 4),
        patience=4 * asked["patience"],
        checkpoint_every=asked["epochs"] * epoch,
    )


def main() -> None:
    """Do what is asked."""
    folder, asked = Path(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(1)
    if "export" in asked:
        export(Path(asked["export"]), asked["include"], folder)
        print("{}")
    else:
        print(json.dumps(measure(folder, asked)))


if __name__ == "__main__":
    main()
