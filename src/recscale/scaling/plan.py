"""What a ladder will cost, before it runs: counted from each rung's own model on its batches."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import torch
from torch import nn

from recscale import models
from recscale.config import RunConfig
from recscale.evaluation.inference import device_of
from recscale.features import requests
from recscale.features.batches import Loader
from recscale.features.prepare import prepare
from recscale.features.store import open_store
from recscale.models.counting import parameter_groups
from recscale.pipeline import Places
from recscale.scaling.ladder import Ladder, Rung, run_config
from recscale.training.cost import row_flops
from recscale.types import Ranker

TIMED = 3  # batches, after one to warm up


@dataclass(frozen=True, slots=True)
class Estimate:
    """One rung's size and cost. Seconds are of training steps alone, as fast as just measured."""

    rung: str
    depth: int
    width: int
    item_table: int
    other_tables: int
    matrix: int
    scalars: int
    distinct_events: int
    flops_per_request: int
    train_flops: int  # attention, softmax and negatives included; a multiply-add is two
    seconds: float | None  # None where it was not asked for

    @property
    def place(self) -> dict[str, float]:
        """Where the rung stands on the axes that a record would tell."""
        return {
            "params": float(self.matrix + self.scalars),
            "events": float(self.distinct_events),
            "flops": float(self.train_flops),
            "depth": float(self.depth),
            "width": float(self.width),
        }


def plan(ladder: Ladder, rungs: Iterable[Rung], places: Places, *, timed: bool) -> list[Estimate]:
    """An estimate of every rung; seeds of one rung share theirs."""
    known: dict[str, Estimate] = {}
    found: list[Estimate] = []
    for rung in rungs:
        if rung.group not in known:
            known[rung.group] = estimate(ladder, rung, places, timed=timed)
        found.append(known[rung.group])
    return found


def estimate(ladder: Ladder, rung: Rung, places: Places, *, timed: bool) -> Estimate:
    """Build the rung's model and count. Raises ValueError for settings that do not fit the log."""
    config = run_config(ladder.config, rung)
    store = open_store(prepare(config.recipe, places.raw, places.prepared), rung.history)
    torch.manual_seed(config.seed)
    model = models.build(config.model, store.schema, store.catalogue())
    rows = requests.training_rows(store, rung.history, *config.training.share)
    batch_size, seed = config.training.batch_size, config.seed
    seen = config.training.steps * min(batch_size, len(rows))
    step = _step_seconds(model, Loader(store, rows, batch_size, seed)) if timed else None
    depth, width = shape(config)
    return Estimate(
        rung=rung.group,
        depth=depth,
        width=width,
        **parameter_groups(model),
        distinct_events=len(rows.candidate),
        flops_per_request=model.cost(rung.history, config.latency.candidates).flops_per_request,
        train_flops=round(row_flops(model, Loader(store, rows, batch_size, seed)) * seen),
        seconds=None if step is None else step * config.training.steps,
    )


def shape(config: RunConfig) -> tuple[int, int]:
    """Depth and width of a run's model, whatever its family calls them; (1, 1) for a floor."""
    told = config.model.model_dump()
    depth = told.get("blocks") or told.get("crosses") or len(told.get("hidden", ())) or 1
    return int(depth), int(told.get("width", 1))


def _step_seconds(model: Ranker, loader: Loader) -> float:
    """Forward and backward of one batch, without the optimiser."""
    assert isinstance(model, nn.Module)
    device = device_of(model)
    seconds: list[float] = []
    with torch.random.fork_rng():
        for batch in islice(iter(loader), 1 + TIMED):
            began = time.perf_counter()
            model.loss(batch.to(device)).backward()
            seconds.append(time.perf_counter() - began)
    model.zero_grad(set_to_none=True)
    warm = seconds[1:] or seconds  # an epoch may be a single batch
    return sum(warm) / len(warm)
