"""A progress bar on stderr: steps, loss, events a second, the validation metric."""

# Lightning calls hooks by position; those here name only what they read.
# pyright: reportIncompatibleMethodOverride=false

from __future__ import annotations

from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from recscale.training import callbacks


class Bar(Callback):
    """Drawn where stderr is a terminal; elsewhere one line a validation."""

    def __init__(
        self,
        steps: int,
        metric: str,
        progress: callbacks.Progress,
        validation: callbacks.Validation,
    ) -> None:
        self.metric, self.progress, self.validation = metric, progress, validation
        self.console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.line = self.bar.add_task("training", total=steps, status="")

    def on_train_start(self, *_: Any) -> None:
        """Draw it."""
        self.bar.start()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Move it."""
        status = self._status()
        self.bar.update(self.line, completed=trainer.global_step, status=status)
        measured = trainer.global_step % self.validation.config.validate_every == 0
        if measured and not self.console.is_terminal:
            self.console.print(f"step {trainer.global_step}: {status}", highlight=False)

    def on_train_end(self, *_: Any) -> None:
        """Leave it as it stands."""
        self.bar.stop()

    def on_exception(self, *_: Any) -> None:
        """Give the terminal back."""
        self.bar.stop()

    def _status(self) -> str:
        speed = self.progress.events / max(self.progress.seconds, 1e-9)
        loss = self.progress.losses[-1] if self.progress.losses else self.validation.loss
        best = self.validation.best_value
        shown = "" if best is None else f"  best {self.metric} {best:.4f}"
        return f"loss {loss:.4f}  {speed:,.0f} events/s{shown}"
