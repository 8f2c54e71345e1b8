"""What each way to keep less costs in quality, beside what it saves.

    python benchmarks/serving_variants.py RUN --prepared prepared [--requests 1000]

Replays the test part of a trained run through the engine in the order of time: each user's events
are appended as they happened, and each request searches the whole catalogue from the state there
is. Every variant sees the same requests. Quality is paired with the exact variant's: the mean
difference of ndcg@10 with its 95 % interval over users. Milliseconds are this process's own time.
Ends in one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recscale import pipeline, record
from recscale.evaluation import metrics
from recscale.features.batches import assemble
from recscale.features.requests import Ints, Rows, evaluation_rows
from recscale.features.store import Store
from recscale.pipeline import Places
from recscale.serving.engine import Engine, EngineConfig, Request
from recscale.types import UNSEEN, History

VARIANTS: dict[str, dict[str, Any]] = {
    "float32, newest": {},
    "float32, half": {"window": "half"},
    "bfloat16, newest": {"precision": "bfloat16"},
    "int8, newest": {"precision": "int8"},
    "int4, newest": {"precision": "int4"},
    "int8, half": {"precision": "int8", "window": "half"},
}
DRAWS = 1000  # of the bootstrap


def replay(engine: Engine, store: Store, rows: Rows, order: Ints) -> dict[str, np.ndarray]:
    """Of each target its user and its ndcg@10; of its request, the time that it took."""
    vectors = engine.item_vectors()
    assert vectors is not None, "this benchmark searches the catalogue: give it a generative model"
    known: dict[int, int] = {}
    found: dict[str, list[float]] = {"user": [], "ndcg": [], "append": [], "search": []}
    for place in order:
        user, stop = int(rows.user[place]), int(rows.stop[place])
        start = known.get(user, int(store.history_offsets[user]))
        known[user] = stop
        batch = assemble(store, rows, np.array([place]))
        events = _events(store, start, stop)
        began = time.process_time()
        engine.append(user, events)
        engine.warm(user)
        appended = time.process_time()
        (scores,) = engine.queries([_request(batch, store, user)]) @ vectors.T
        searched = time.process_time()
        allowed = torch.ones_like(scores, dtype=torch.bool)
        allowed[: UNSEEN + 1] = False
        for item in batch.candidates.features["item"].tolist():
            rank = float("inf")
            if item != UNSEEN:
                table = scores[None].numpy(), np.array([item]), allowed[None].numpy()
                rank = float(metrics.rank(*table)[0])
            found["user"].append(user)
            found["ndcg"].append(1 / np.log2(rank + 1) if rank <= 10 else 0.0)
            found["append"].append(1e3 * (appended - began))
            found["search"].append(1e3 * (searched - appended))
    return {name: np.array(values) for name, values in found.items()}


def _events(store: Store, start: int, stop: int) -> History:
    names = ["item", *(f.name for f in (*store.schema.context, *store.schema.event))]
    columns = {name: _tensor(store.history[name][start:stop]) for name in names}
    clock = _tensor(store.history["time"][start:stop])
    return History(columns, clock, torch.tensor([0, stop - start]))


def _request(batch: Any, store: Store, user: int) -> Request:
    ahead = batch.candidates
    context = {name: v[:1] for name, v in ahead.features.items() if name != "item"}
    features = {feature.name: batch.user[feature.name] for feature in store.schema.user}
    return Request(user, int(ahead.time[0]), ahead.features["item"], context, features)


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(
        np.array(values, np.float32 if values.dtype == np.float32 else np.int64)
    )


def _gap(values: np.ndarray, exact: np.ndarray, user: np.ndarray) -> dict[str, float]:
    """Mean difference, and its interval by drawing users."""
    difference = values - exact
    _, of = np.unique(user, return_inverse=True)
    total, count = np.bincount(of, difference), np.bincount(of)
    drawn = np.random.default_rng(0).integers(len(count), size=(DRAWS, len(count)))
    means = total[drawn].sum(1) / count[drawn].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return {"mean": float(difference.mean()), "low": float(low), "high": float(high)}


def main() -> None:
    """Measure and print the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--prepared", type=Path, default=Path("prepared"))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("RECSCALE_DATA", "data")))
    parser.add_argument("--requests", type=int, default=1000)
    asked = parser.parse_args()
    places = Places(asked.data, asked.prepared)
    config, store, _ = pipeline.reopen(asked.run, places)
    rows = evaluation_rows(
        store, "test", config.features.history, positive=True, limit=asked.requests
    )
    moments = store.candidates["time"][rows.candidate[rows.offsets[:-1]]]
    order = np.argsort(moments, kind="stable")
    table: dict[str, Any] = {}
    exact: dict[str, np.ndarray] | None = None
    for name, settings in VARIANTS.items():
        _, _, model = pipeline.reopen(asked.run, places)
        room = {"states_mib": 2**20, "events_mib": 2**20}
        engine = Engine(model, store.schema, EngineConfig.model_validate({**room, **settings}))
        found = replay(engine, store, rows, order)
        exact = exact or found
        table[name] = {
            "ndcg@10": float(found["ndcg"].mean()),
            "difference": _gap(found["ndcg"], exact["ndcg"], found["user"]),
            "state KiB a user": engine.states.nbytes / len(engine.states) / 1024,
            "append ms": {p: float(np.percentile(found["append"], p)) for p in (50, 99)},
            "search ms": {p: float(np.percentile(found["search"], p)) for p in (50, 99)},
        }
    head = {"benchmark": "serving_variants", "run": asked.run.name, "targets": len(exact["user"])}
    tail = {"load_average": os.getloadavg(), "commit": record.commit(), "machine": record.machine()}
    print(json.dumps({**head, "history": config.features.history, "variants": table, **tail}))


if __name__ == "__main__":
    main()
