"""Do models find the half-lives that were planted, and none where none were?

    python benchmarks/forgetting_recovery.py [--models din hstu] [--steps 2000] [--out FILE]

Each category of the synthetic log has a half-life of its own, from 20 minutes to three days, and
enough clicks that whoever knew the planted equation could read it off to a few percent. A model is
trained on clicks with one exponential a category; its half-life is the age at which the learned
curve has lost half of what it loses within the log. On the second log clicks never fade.

The request's own gap since the last event is switched off: with it a model has two places for one
truth, and how it splits the truth between them is no measurement. Ends in one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from recscale import configfile, models, record
from recscale.config import RunConfig
from recscale.evaluation.forgetting_log import half_life
from recscale.features import requests
from recscale.features.batches import Loader
from recscale.features.prepare import prepare
from recscale.features.store import Store, open_store
from recscale.models.clock import Gap
from recscale.models.forgetting import AgeCurve
from recscale.types import UNSEEN, Ranker

LOG = {"source": "synthetic", "users": 8_000, "events_per_user": 80, "categories": 8,
       "shortest_half_life_minutes": 20, "longest_half_life_minutes": 3 * 24 * 60,
       "click_rate": 0.4, "history": "positive"}  # fmt: skip
NEVER = {"shortest_half_life_minutes": 1e9, "longest_half_life_minutes": 1e9}
CURVE = {"kind": "exponential", "by_category": "category"}
MODELS: dict[str, dict[str, Any]] = {
    "din": {"name": "din", "width": 8, "attention": 8, "hidden": [32], "dropout": 0,
            "forgetting": CURVE},
    "hstu": {"name": "hstu", "blocks": 1, "heads": 1, "width": 16, "dropout": 0,
             "bias": "position", "forgetting": CURVE},
}  # fmt: skip
KERNEL_RATE = 6.0  # times the learning rate of the rest: a handful of numbers, far from the start
ENOUGH = 10_000  # clicks of a category in training, from which the half-life must be within 15 %


def main() -> None:
    """Train each model on both logs and print what it found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--steps", type=int, default=2_000)
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--folder", type=Path, default=None, help="where the logs are kept")
    parser.add_argument("--out", type=Path, default=None, help="a file for the document as well")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, Any] = {"benchmark": "forgetting_recovery", "steps": asked.steps}
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        for name in asked.models:
            found[name] = {
                "planted": recovered(name, LOG, asked.steps, asked.rate, folder),
                "none_planted": recovered(name, LOG | NEVER, asked.steps, asked.rate, folder),
            }
            told = {**found, "commit": record.commit(), "machine": record.machine()}
            if asked.out:
                aside = asked.out.with_suffix(f".{os.getpid()}")
                aside.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
                aside.replace(asked.out)
    print(json.dumps(told))


def recovered(
    name: str, log: dict[str, Any], steps: int, rate: float, folder: Path
) -> dict[str, Any]:
    """Train one model on one log; its half-lives beside the planted ones, in hours."""
    raw = {"data": log, "model": MODELS[name], "features": {"history": 64, "include": ["category"]}}
    config = configfile.check(RunConfig, raw)
    store = open_store(prepare(config.recipe, folder, folder), config.features.history)
    torch.manual_seed(config.seed)
    model = models.build(config.model, store.schema, store.catalogue())
    started = time.process_time()
    loss = train(model, store, steps, rate)
    truth = _truth(folder, config)
    return {
        **compared(model, store, np.array(truth["half_life_minutes"]) / 60),
        "loss": loss,
        "best_logloss": truth["best_logloss"],
        "cpu_seconds": time.process_time() - started,
    }


def train(model: Ranker, store: Store, steps: int, rate: float) -> float:
    """Adam, its rate falling to nothing in the second half; the mean loss of the last tenth."""
    assert isinstance(model, nn.Module)
    for gap in (part for part in model.modules() if isinstance(part, Gap)):
        nn.init.zeros_(gap.table.weight)
        gap.requires_grad_(False)
    own = {id(weight) for weight in _kernel(model).parameters()}
    rest = [w for w in model.parameters() if id(w) not in own and w.requires_grad]
    groups = [{"params": rest, "lr": rate},
              {"params": list(_kernel(model).parameters()), "lr": KERNEL_RATE * rate}]  # fmt: skip
    optimiser = torch.optim.Adam(groups, betas=(0.9, 0.98))
    fall = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1, 2 - 2 * step / steps))
    rows = requests.training_rows(store, store.schema.history)
    loader, losses = Loader(store, rows, 128, seed=0), list[float]()
    while len(losses) < steps:
        for batch in loader:
            loss = model.loss(batch)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            fall.step()
            losses.append(loss.item())
            if len(losses) == steps:
                break
    return float(np.mean(losses[-steps // 10 :]))


def compared(model: Ranker, store: Store, true_hours: np.ndarray) -> dict[str, Any]:
    """Learned and planted, category by category; category c has the id c + 2."""
    assert isinstance(model, nn.Module)
    times = store.history["time"]
    span = float(times.max() - times.min()) / 1000
    ages = np.r_[0.0, np.geomspace(1, span, 4_000)]
    categories = torch.arange(len(true_hours)) + UNSEEN + 1
    with torch.no_grad():
        curves = _kernel(model).curve(torch.from_numpy(ages), categories).mean(1).numpy()
    planted = np.exp2(-ages / 3600 / true_hours[:, None])
    learned = [_hours(ages, curve) for curve in curves]
    true = [_hours(ages, curve) for curve in planted]
    told: dict[str, Any] = {
        "true_hours": true,
        "learned_hours": learned,
        "clicks": _clicks(store, len(true_hours)),
        "left_at_end": [float(curve[-1]) for curve in curves],
    }
    if None not in true and None not in learned:
        ratio = np.array(learned, float) / np.array(true, float)
        enough = np.array(told["clicks"]) >= ENOUGH
        told["ratio"] = ratio.tolist()
        told["spearman"] = float(spearmanr(learned, true).statistic)
        told["worst_ratio_off"] = float(np.abs(ratio[enough] - 1).max()) if enough.any() else None
    return told


def _hours(ages: np.ndarray, curve: np.ndarray) -> float | None:
    found = half_life(ages, curve)
    return None if found is None else found / 3600


def _clicks(store: Store, categories: int) -> list[int]:
    ahead = store.candidates
    chosen = (ahead["part"] == 0) & (ahead["click"] > 0)
    kinds = store.catalogue().single["category"].numpy()[ahead["item"][chosen]]
    return np.bincount(kinds, minlength=categories + UNSEEN + 1)[UNSEEN + 1 :].tolist()


def _kernel(model: nn.Module) -> AgeCurve:
    return next(part for part in model.modules() if isinstance(part, AgeCurve))


def _truth(folder: Path, config: RunConfig) -> dict[str, Any]:
    for path in (folder / "synthetic").glob("*/truth.json"):
        truth = json.loads(path.read_text(encoding="utf-8"))
        if truth["config"] == config.data.model_dump(mode="json"):
            return truth
    raise AssertionError("the log was made without its truth")


if __name__ == "__main__":
    main()
