"""What each kind of forgetting costs in training at a history of 200 events.

    python benchmarks/forgetting_overhead.py [--rounds 7] [--out FILE]

Processor time of whole training steps (loss, gradient, Adam) on the same batches of a synthetic
log, none and every other kind one after the other in each round: the ratio is taken within a round,
where the machine was as busy for both, and the median over rounds is reported with their spread.
Ends in one JSON document.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import nn

from recscale import configfile, models, record
from recscale.config import RunConfig
from recscale.features import requests
from recscale.features.batches import Loader
from recscale.features.prepare import prepare
from recscale.features.store import Store, open_store
from recscale.types import Batch

HISTORY = 200
LOG = {"source": "synthetic", "users": 300, "items": 3_000, "events_per_user": 600,
       "history": "positive"}  # fmt: skip
MODELS = {"hstu": {"name": "hstu"}, "transformer": {"name": "transformer"}, "din": {"name": "din"}}
KINDS = ("none", "mixture", "power", "bucket", "event_count", "content")
STEPS = 3  # of a round
ROWS = 16  # of a batch


def main() -> None:
    """Measure and print the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--out", type=Path, default=None, help="a file for the document as well")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    told: dict[str, Any] = {"benchmark": "forgetting_overhead", "history": HISTORY}
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.models:
            told[name] = overhead(MODELS[name], asked.rounds, Path(folder))
    told |= {"rounds": asked.rounds, "commit": record.commit(), "machine": record.machine()}
    text = json.dumps(told)
    if asked.out:
        asked.out.write_text(text + "\n", encoding="utf-8")
    print(text)


def overhead(model: dict[str, Any], rounds: int, folder: Path) -> dict[str, Any]:
    """Kind -> how much more processor time a step takes than without forgetting."""
    raw = {"data": LOG, "features": {"history": HISTORY}, "model": model}
    config = configfile.check(RunConfig, raw)
    store = open_store(prepare(config.recipe, folder, folder), HISTORY)
    rows = requests.training_rows(store, HISTORY)
    batches = list(islice(iter(Loader(store, rows, ROWS, seed=0)), STEPS))
    trained = {kind: _trained(raw, kind, store) for kind in KINDS}
    for kind in KINDS:
        _seconds(*trained[kind], batches)  # warm
    seconds = [{kind: _seconds(*trained[kind], batches) for kind in KINDS} for _ in range(rounds)]
    events = sum(len(batch.history.time) for batch in batches)
    found: dict[str, Any] = {
        "events_per_core_second": events / statistics.median(each["none"] for each in seconds)
    }
    for kind in KINDS[1:]:
        ratios = sorted(each[kind] / each["none"] - 1 for each in seconds)
        found[kind] = {"overhead": statistics.median(ratios), "spread": [ratios[0], ratios[-1]]}
    return found


def _trained(raw: dict[str, Any], kind: str, store: Store) -> tuple[nn.Module, Any]:
    model = {**raw["model"], "forgetting": {"kind": kind}}
    config = configfile.check(RunConfig, {**raw, "model": model})
    torch.manual_seed(0)
    made = models.build(config.model, store.schema, store.catalogue())
    return made, torch.optim.Adam(made.parameters())


def _seconds(model: Any, optimiser: Any, batches: list[Batch]) -> float:
    started = time.process_time()
    for batch in batches:
        loss = model.loss(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return time.process_time() - started


if __name__ == "__main__":
    main()
