"""Small runs that the tests start in one process and in several: python processes.py OUT."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import torch

from recscale import data, models
from recscale.data.split import SplitConfig
from recscale.data.synthetic import SyntheticConfig
from recscale.features.batches import Loader
from recscale.features.config import FeaturesConfig
from recscale.features.encode import write
from recscale.features.requests import training_rows
from recscale.features.store import Store, open_store
from recscale.models import ranks
from recscale.models.ctr.din import DINConfig
from recscale.models.generative.hstu import HSTUConfig
from recscale.models.losses import SampledSoftmax
from recscale.training import launch
from recscale.training.config import TrainingConfig
from recscale.training.fit import fit

STEPS, STOP = 50, 30
HISTORY = 10
# Slow and warm, or rounding grows: at table_lr 0.02 one process differs from itself by 1e-2 in
# fifty steps when the rows of its batches change places, and at these rates by 3e-8.
RATES = {"lr": 1e-4, "table_lr": 1e-3}
MODELS = {
    "hstu": HSTUConfig(
        width=16, dropout=0.0, objective=SampledSoftmax(negatives=64, temperature=1.0)
    ),
    "din": DINConfig(width=16, dropout=0.0),
}


def log(folder: Path) -> Store:
    """Exposures of 200 users, prepared by whoever comes first."""
    config = SyntheticConfig(users=200, items=150, events_per_user=20)
    if not (folder / "made").exists():
        write(data.load(config, folder), SplitConfig(), FeaturesConfig(), "ab" * 8, folder / "made")
    return open_store(folder / "made", HISTORY)


def uneven(rows: int) -> int:
    """A batch size that leaves one row for the last batch: fewer than there are processes."""
    return next(size for size in range(16, rows) if rows % size == 1)


def start(name: str, out: Path) -> models.Model:
    """A model before its first step."""
    torch.manual_seed(0)
    store = log(out)
    return models.build(MODELS[name], store.schema, store.catalogue())


def train(name: str, folder: Path, *, steps: int = STEPS, resume: bool = False) -> None:
    """Fifty steps, or the first thirty of them, or the rest."""
    if ranks.rank() == 0:
        folder.mkdir(exist_ok=True)
    store = log(folder.parent)
    rows = training_rows(store, HISTORY)
    model = start(name, folder.parent)
    every = {"validate_every": 10, "checkpoint_every": 10}
    config = TrainingConfig(steps=steps, warmup_steps=10, **RATES, **every)
    loader = Loader(store, rows, uneven(len(rows)), 0, ranks.rank(), ranks.world())
    assert len(loader) < STOP, "no epoch ends before the last step"
    better: Iterator[int] = count()
    torch.manual_seed(0)
    fit(model, loader, config, lambda: next(better) + 10.0 * resume, folder, resume=resume)


def main(out: Path) -> None:
    """All that the tests ask of this number of processes, for one start of torchrun."""
    torch.set_num_threads(1)
    with launch.joined():
        launch.first_then_all(lambda: log(out))
        for name in MODELS:
            if ranks.world() == 1:
                train(name, out / f"{name}-two-then-one", resume=True)
                continue
            train(name, out / f"{name}-two")
            train(name, out / f"{name}-two-then-two", steps=STOP)
            train(name, out / f"{name}-two-then-two", resume=True)
            train(name, out / f"{name}-two-then-one", steps=STOP)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main(Path(sys.argv[1]))
