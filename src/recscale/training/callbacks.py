"""What happens between steps: validation, the curve on disk, checkpoints, randomness, Ctrl-C."""

# Lightning calls hooks by position; those here name only what they read.
# pyright: reportIncompatibleMethodOverride=false

from __future__ import annotations

import csv
import pickle
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from recscale.models import ranks
from recscale.training import launch
from recscale.training.config import LOWER_IS_BETTER, TrainingConfig
from recscale.training.keeper import Keeper

Validate = Callable[[], float]


class Progress(Callback):
    """What was trained so far; kept through a resume, shared by the callbacks after it."""

    def __init__(self) -> None:
        self.rows = 0  # of batches
        self.events = 0  # candidates trained on
        self.seconds = 0.0
        self.core_seconds = 0.0  # of this process: what a busy machine leaves comparable
        self.losses: list[float] = []  # since the last line of the curve
        self._started = self._worked = 0.0

    def on_train_batch_start(self, *_: Any) -> None:
        """Start the clock: validation and checkpoints do not count as training time."""
        self._started, self._worked = time.perf_counter(), time.process_time()

    def on_train_batch_end(self, *args: Any) -> None:
        """Count one batch."""
        _, _, outputs, batch, _ = args
        self.seconds += time.perf_counter() - self._started
        self.core_seconds += time.process_time() - self._worked
        self.rows += len(batch.history.offsets) - 1
        self.events += len(batch.candidates.prefix)
        self.losses.append(float(outputs["loss"]))

    def summed(self) -> dict[str, Any]:
        """What all processes trained together; each has to ask."""
        return {
            "rows": int(ranks.total(self.rows)),
            "events": int(ranks.total(self.events)),
            "seconds": ranks.of_first(self.seconds),
            "core_seconds": ranks.total(self.core_seconds),
        }

    def state_dict(self) -> dict[str, Any]:
        """Everything but the running clock."""
        return {**self.summed(), "losses": ranks.averages(self.losses)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting: the first process from the sums, the others from nothing."""
        self.seconds, self.losses = state_dict["seconds"], state_dict["losses"]
        if ranks.rank() == 0:
            self.rows, self.events = state_dict["rows"], state_dict["events"]
            self.core_seconds = state_dict["core_seconds"]


class Validation(Callback):
    """Every so often: measure, write a line of the curve, keep the best weights, stop in time."""

    def __init__(
        self, config: TrainingConfig, validate: Validate, progress: Progress, keeper: Keeper
    ) -> None:
        self.config, self.validate, self.progress = config, validate, progress
        self.curve, self.keeper = keeper.folder / "events.csv", keeper
        self.best_value: float | None = None
        self.best_step = 0
        self.worse = 0  # validations since the best one
        self.loss = 0.0  # mean since the validation before

    def on_train_start(self, trainer: lightning.Trainer, _: Any) -> None:
        """Drop the lines of the curve that a killed run wrote after its last checkpoint."""
        # A run killed after its patience was spent has nothing left to train.
        trainer.should_stop = self.worse >= self.config.patience
        if not trainer.is_global_zero:
            return
        header = ["step", "epoch", "events", "seconds", "loss", self.config.metric]
        kept = [row for row in _read_rows(self.curve) if int(row[0]) <= trainer.global_step]
        aside = self.curve.with_suffix(".tmp")
        with aside.open("w", newline="") as file:
            csv.writer(file).writerows([header, *kept])
        aside.replace(self.curve)

    def on_train_batch_end(self, trainer: lightning.Trainer, module: Any, *_: Any) -> None:
        """Measure where it is due."""
        step = trainer.global_step
        if step % self.config.validate_every and step != self.config.steps:
            return
        value = ranks.of_first(self.validate())
        losses = ranks.averages(self.progress.losses)
        self.loss = sum(losses) / len(losses)
        self.progress.losses.clear()
        module.log_dict({"loss": self.loss, self.config.metric: value})
        self._write_line(trainer, value)
        if self._better(value):
            self.best_value, self.best_step, self.worse = value, step, 0
            self.keeper.keep_best(module)
        else:
            self.worse += 1
        trainer.should_stop = trainer.should_stop or self.worse >= self.config.patience

    def state_dict(self) -> dict[str, Any]:
        """What early stopping remembers."""
        return {
            "best_value": self.best_value,
            "best_step": self.best_step,
            "worse": self.worse,
            "loss": self.loss,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember it again."""
        self.best_value, self.best_step = state_dict["best_value"], state_dict["best_step"]
        self.worse, self.loss = state_dict["worse"], state_dict["loss"]

    def _better(self, value: float) -> bool:
        if self.best_value is None:
            return True
        lower = self.config.metric in LOWER_IS_BETTER
        return value < self.best_value if lower else value > self.best_value

    def _write_line(self, trainer: lightning.Trainer, value: float) -> None:
        done = self.progress.summed()
        if not trainer.is_global_zero:
            return
        seconds = round(done["seconds"], 3)
        row = [trainer.global_step, trainer.current_epoch, done["events"], seconds]
        with self.curve.open("a", newline="") as file:
            csv.writer(file).writerow([*row, repr(self.loss), repr(value)])


class LastCheckpoint(Callback):
    """The point that --resume goes on from. Comes last, so that it holds what the others did."""

    def __init__(self, every: int, keeper: Keeper) -> None:
        self.every, self.keeper = every, keeper

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Save where it is due, and wherever training stops."""
        if trainer.global_step % self.every == 0 or trainer.should_stop:
            self.keeper.keep_last(trainer)


class Randomness(Callback):
    """Saves and restores the global generators, which Lightning does not."""

    def __init__(self) -> None:
        self._pending: dict[str, Tensor] | None = None

    def state_dict(self) -> dict[str, Any]:
        """As tensors: Lightning loads checkpoints with weights_only, which refuses the rest."""
        others = pickle.dumps((np.random.get_state(), random.getstate()))  # noqa: NPY002
        own = {
            "torch": torch.get_rng_state(),
            "others": torch.frombuffer(bytearray(others), dtype=torch.uint8),
        }
        return {"processes": ranks.gather(own)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep it until the first batch: loaders draw from the generators before that.

        A process more than there were has none of its own, and goes on from its seed.
        """
        own = state_dict["processes"][ranks.rank() :]
        self._pending = own[0] if own else None

    def on_train_batch_start(self, *_: Any) -> None:
        """Restore as late as possible."""
        if self._pending is not None:
            numpy_state, python_state = pickle.loads(self._pending["others"].numpy().tobytes())
            torch.set_rng_state(self._pending["torch"])
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)
            self._pending = None


class Interrupt(Callback):
    """Ctrl-C ends the step in hand, then training; a second Ctrl-C ends the process."""

    def __init__(self) -> None:
        self.asked = False
        self._before: Any = None

    def on_train_start(self, *_: Any) -> None:
        """Take the signal."""
        self._before = signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, self._ask)
        if ranks.grouped():  # Lightning's own handler talks to processes that may be gone
            signal.signal(signal.SIGTERM, launch.end)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Pass it on."""
        if ranks.any_of(self.asked):  # all stop at one step, or none could
            self.asked = trainer.should_stop = True

    def on_train_end(self, *_: Any) -> None:
        """Give the signal back."""
        signal.signal(signal.SIGINT, self._before)

    def _ask(self, *_: Any) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, self._before)


def _read_rows(path: Path) -> list[list[str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.reader(file))[1:]
