"""DIN and DCNv2 of FuxiCTR on arrays that ctr_speed.py wrote; runs in an environment of its own.

    python fuxictr_ctr.py FOLDER '{"model": "din", ...}'

The layers, base class, optimiser and data loader are those of the installed wheel; the wheel leaves
its model zoo out, so the two models are put together here as its documentation draws them. Ends in
one JSON document; predictions for the test part go to FOLDER/<model>-<seed>.npy.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.dataloaders.npz_dataloader import NpzDataLoader
from fuxictr.pytorch.layers import (
    CrossNetV2,
    DIN_Attention,
    FeatureEmbedding,
    FeatureEmbeddingDict,
    MLP_Block,
)
from fuxictr.pytorch.models import BaseModel
from fuxictr.pytorch.torch_utils import seed_everything
from sklearn.metrics import roc_auc_score
from torch import nn

EVALUATION_BATCH = 4096
PARTS = ("train", "valid", "test")


class DIN(BaseModel):
    """One attention over the items of the history; other sequences are mean-pooled."""

    def __init__(self, features: FeatureMap, asked: dict[str, Any], **base: Any) -> None:
        super().__init__(features, model_id="DIN", **base)
        width = asked["width"]
        self.embedding_layer = FeatureEmbeddingDict(features, width)
        self.attention = DIN_Attention(
            width, attention_units=[asked["attention"]], hidden_activations=asked["activation"]
        )
        self.dnn = MLP_Block(
            input_dim=features.sum_emb_out_dim(),
            output_dim=1,
            hidden_units=asked["hidden"],
            output_activation=self.output_activation,
            dropout_rates=asked["dropout"],
        )
        finish(self, asked)

    def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Batch of columns -> {"y_pred": [N, 1]}."""
        columns = self.get_inputs(inputs)
        found = self.embedding_layer(columns)
        seen = columns["item_history"].long() != 0
        found["item_history"] = self.attention(found["item"], found["item_history"], seen)
        joined = self.embedding_layer.dict2tensor(found, flatten_emb=True)
        return {"y_pred": self.dnn(joined)}


class DCNv2(BaseModel):
    """Crosses and a deep tower side by side, or the tower above the crosses."""

    def __init__(self, features: FeatureMap, asked: dict[str, Any], **base: Any) -> None:
        super().__init__(features, model_id="DCNv2", **base)
        self.embedding_layer = FeatureEmbedding(features, asked["width"])
        inputs = features.sum_emb_out_dim()
        self.crossnet = CrossNetV2(inputs, asked["crosses"])
        self.deep = MLP_Block(
            input_dim=inputs, hidden_units=asked["hidden"], dropout_rates=asked["dropout"]
        )
        self.stacked = asked["structure"] == "stacked"
        self.fc = nn.Linear(asked["hidden"][-1] + (0 if self.stacked else inputs), 1)
        finish(self, asked)

    def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Batch of columns -> {"y_pred": [N, 1]}."""
        first = self.embedding_layer(self.get_inputs(inputs), flatten_emb=True)
        crossed = self.crossnet(first)
        if self.stacked:
            last = self.deep(crossed)
        else:
            last = torch.cat([crossed, self.deep(first)], dim=-1)
        return {"y_pred": self.output_activation(self.fc(last))}


def finish(model: BaseModel, asked: dict[str, Any]) -> None:
    """What every model of the library does last."""
    model.compile("adam", "binary_crossentropy", asked["lr"])
    model.reset_parameters()
    model.model_to_device()


def main() -> None:
    """Train with the clock running, keep predictions after one epoch and at the best validation."""
    folder, asked = Path(sys.argv[1]), json.loads(sys.argv[2])
    torch.set_num_threads(1)
    seed_everything(asked["seed"])
    features = FeatureMap("bench", str(folder))
    described = folder / f"feature_map_{asked['model']}.json"
    features.load(str(described), {"embedding_dim": asked["width"]})
    loaders = {part: load(features, folder, part, asked["batch"]) for part in PARTS}
    model = (DIN if asked["model"] == "din" else DCNv2)(
        features,
        asked,
        embedding_regularizer=asked["regularizer"],
        verbose=0,
        model_root=str(folder),
        metrics=["AUC"],
    )
    model._max_gradient_norm = 10.0  # what its own fit() sets
    told = fit(model, loaders, folder, asked)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    parameters = sum(weight.numel() for weight in model.parameters())
    print(json.dumps({**told, "parameters": parameters, "peak_memory_mb": peak}))


def load(features: FeatureMap, folder: Path, part: str, batch: int) -> NpzDataLoader:
    """The library's fastest loader of the three it has."""
    size = batch if part == "train" else EVALUATION_BATCH
    shuffle = part == "train"
    path = str(folder / f"{part}.npz")
    return NpzDataLoader(features, path, batch_size=size, shuffle=shuffle, num_workers=0)


def fit(
    model: BaseModel, loaders: dict[str, NpzDataLoader], folder: Path, asked: dict[str, Any]
) -> dict[str, Any]:
    """Epochs until the patience runs out."""
    valid = np.load(folder / "valid.npz")
    user, label = valid["user_index"], valid["click"]
    best, worse, epochs, speed = -1.0, 0, [], 0.0
    for epoch in range(asked["epochs"]):
        epochs.append(train(model, loaders["train"]))
        predicted = model.predict(loaders["valid"])
        value = gauc(user, label, predicted)
        epochs[-1] |= {"valid_auc": roc_auc_score(label, predicted), "valid_gauc": value}
        if epoch == 0:
            started = time.process_time()
            scored = model.predict(loaders["test"])
            speed = len(scored) / (time.process_time() - started)
            np.save(folder / f"{asked['name']}-first.npy", scored)
        worse = 0 if value > best else worse + 1
        if value > best and not asked["once"]:
            np.save(folder / f"{asked['name']}-best.npy", model.predict(loaders["test"]))
        best = max(best, value)
        if worse >= asked["patience"]:
            break
    return {"epochs": epochs, "score_samples_per_core_second": speed}


def train(model: BaseModel, loader: NpzDataLoader) -> dict[str, float]:
    """One epoch, its loader included."""
    model.train()
    samples, loss, started = 0, 0.0, time.process_time()
    for batch in loader:
        loss += float(model.train_step(batch)) * len(batch["click"])
        samples += len(batch["click"])
    seconds = time.process_time() - started
    return {"samples_per_core_second": samples / seconds, "loss": loss / samples}


def gauc(user: np.ndarray, label: np.ndarray, score: np.ndarray) -> float:
    """AUC inside each user, by exposures; users of one class left out."""
    order = np.argsort(user, kind="stable")
    starts = np.flatnonzero(np.diff(user[order])) + 1
    total = weight = 0.0
    for rows in np.split(order, starts):
        if 0 < label[rows].sum() < len(rows):
            total += len(rows) * roc_auc_score(label[rows], score[rows])
            weight += len(rows)
    return total / weight


if __name__ == "__main__":
    main()
