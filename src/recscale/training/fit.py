"""Train a ranker: the one place where Lightning's trainer is set up."""

from __future__ import annotations

import logging
import os
import resource
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn

from recscale.configfile import ConfigError
from recscale.features.batches import Loader
from recscale.models import ranks
from recscale.models.sharded import Sharded, shard
from recscale.training.bar import Bar
from recscale.training.callbacks import (
    Interrupt,
    LastCheckpoint,
    Progress,
    Randomness,
    Validation,
)
from recscale.training.config import TrainingConfig
from recscale.training.keeper import ManyProcesses, OneProcess
from recscale.training.strategy import ShardedStrategy
from recscale.training.task import Task
from recscale.types import Ranker


@dataclass(frozen=True, slots=True)
class Trained:
    """What a fit leaves beside the weights in best.ckpt."""

    steps: int
    rows: int  # windows of users, counted as often as they were seen
    events: int
    seconds: float
    core_seconds: float
    loss: float
    best_step: int
    peak_memory_mb: float
    best_value: float | None  # None: stopped before the first validation
    interrupted: bool

    def summary(self) -> dict[str, Any]:
        """The `train` of a record."""
        return {
            "seconds": self.seconds,
            "core_seconds": self.core_seconds,
            "steps": self.steps,
            "events": self.events,
            "events_per_second": self.events / self.seconds,
            "peak_memory_mb": self.peak_memory_mb,
            "loss": self.loss,
            "best_step": self.best_step,
        }


def fit(
    model: Ranker,
    loader: Loader,
    config: TrainingConfig,
    validate: Callable[[], float],
    folder: Path,
    *,
    resume: bool,
) -> Trained:
    """Train `model` in place until the steps, the patience or the user's Ctrl-C run out.

    Leaves best.ckpt (weights), last.ckpt (everything `resume` needs), events.csv and TensorBoard
    logs in `folder`. A resumed run ends bit-identical to one that was never killed (CPU).
    """
    sharded = _sharded(model, config) if ranks.grouped() else None
    keeper = OneProcess(folder) if sharded is None else ManyProcesses(folder, sharded)
    progress, interrupt = Progress(), Interrupt()
    validation = Validation(config, validate, progress, keeper)
    bar = [Bar(config.steps, config.metric, progress, validation)] if ranks.rank() == 0 else []
    last = LastCheckpoint(config.checkpoint_every, keeper)
    callbacks = [Randomness(), progress, validation, *bar, interrupt, last]
    trainer = _trainer(config, folder, callbacks, sharded)
    trainer.fit(Task(model, config), loader, ckpt_path=keeper.last() if resume else None)
    keeper.finish()
    return Trained(
        steps=trainer.global_step,
        **progress.summed(),
        loss=validation.loss,
        best_step=validation.best_step,
        peak_memory_mb=peak_memory_mb(),
        best_value=validation.best_value,
        interrupted=interrupt.asked,
    )


def peak_memory_mb() -> float:
    """Of the GPU where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, kilobytes here


def _sharded(model: Ranker, config: TrainingConfig) -> Sharded:
    """Spread the model's tables over the processes, in place."""
    if config.table_lr is None:
        raise ConfigError(
            "training.table_lr: missing; over several processes tables are trained by row-wise "
            "Adagrad, at a rate of their own"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    assert isinstance(model, nn.Module)
    with torch.random.fork_rng():  # what shards start from is copied, what was drawn for them not
        return shard(model, config.table_lr, device)


def _trainer(
    config: TrainingConfig, folder: Path, callbacks: list[Any], sharded: Sharded | None
) -> lightning.Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    return lightning.Trainer(
        max_steps=config.steps,
        max_epochs=-1,
        accelerator="auto",
        devices=1 if sharded is None else int(os.environ["LOCAL_WORLD_SIZE"]),
        num_nodes=1 if sharded is None else int(os.environ["GROUP_WORLD_SIZE"]),
        strategy="auto" if sharded is None else ShardedStrategy(sharded),
        logger=TensorBoardLogger(folder, name="", version="tensorboard"),
        log_every_n_steps=config.validate_every,
        callbacks=callbacks,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        detect_anomaly=False,  # 1.7 times the time of a step: for tests only
    )
