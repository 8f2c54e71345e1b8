"""Where a run keeps its weights: the best so far, and the point that it can go on from."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import lightning
import torch

from recscale.models import ranks
from recscale.models.sharded import Sharded
from recscale.training import shards


class Keeper(Protocol):
    """Files in a run's folder."""

    @property
    def folder(self) -> Path:
        """The run's."""
        ...

    def keep_best(self, task: Any) -> None:
        """Keep the weights of `task.model` as the best ones."""
        ...

    def keep_last(self, trainer: lightning.Trainer) -> None:
        """Keep all that a resumed run needs."""
        ...

    def last(self) -> Path | None:
        """What to go on from. Raises ValueError where another kind of run left it."""
        ...

    def finish(self) -> None:
        """Leave the best weights in best.ckpt, as one file."""
        ...


@dataclass(frozen=True)
class OneProcess:
    """Two files: best.ckpt and last.ckpt."""

    folder: Path

    def keep_best(self, task: Any) -> None:
        """At once as the file that it ends up in."""
        save_whole(task.model.state_dict(), self.folder / "best.ckpt")

    def keep_last(self, trainer: lightning.Trainer) -> None:
        """Written aside, then renamed."""
        path = self.folder / "last.ckpt"
        aside = path.with_suffix(".tmp")
        trainer.save_checkpoint(aside)
        aside.replace(path)

    def last(self) -> Path | None:
        """A file."""
        path = self.folder / "last.ckpt"
        if path.is_dir():
            raise ValueError(
                f"{path}: left by several processes; go on with torchrun --nproc_per_node N"
            )
        return path if path.exists() else None

    def finish(self) -> None:
        """The best weights stand there already."""


@dataclass(frozen=True)
class ManyProcesses:
    """Two folders that each process writes its shards into: best.shards and last.ckpt."""

    folder: Path
    sharded: Sharded

    def keep_best(self, task: Any) -> None:
        """Weights and no more; best.ckpt is made of them at the end."""
        del task  # its model is the sharded one
        aside = self.folder / "best.aside"
        shards.save({"model": self.sharded.state()["model"]}, aside)
        self._place(aside, self.folder / "best.shards")

    def keep_last(self, trainer: lightning.Trainer) -> None:
        """Written aside, then renamed."""
        aside = self.folder / "last.aside"
        trainer.save_checkpoint(aside)
        self._place(aside, self.folder / "last.ckpt")

    def last(self) -> Path | None:
        """A folder; the one before it, where a kill came between two renames."""
        path = self.folder / "last.ckpt"
        if path.is_file():
            raise ValueError(f"{path}: left by one process; go on without torchrun")
        found = path if path.exists() else shards.before(path)
        if not found.exists():
            return None
        shards.require_whole(found)
        return found

    def finish(self) -> None:
        """One file out of the shards, by the first process; the last weights if none was best."""
        best, whole = self.folder / "best.shards", self.folder / "best.ckpt"
        kept = best.exists() or whole.exists()
        ranks.gather(None)  # all have looked
        if not kept:
            self.keep_best(None)
        if ranks.rank() == 0 and best.exists():
            shards.consolidate(best, whole)
            shutil.rmtree(best)
        ranks.gather(None)

    def _place(self, aside: Path, folder: Path) -> None:
        ranks.gather(None)  # all have written
        if ranks.rank() == 0:
            shards.place(aside, folder)


def save_whole(state: Any, path: Path) -> None:
    """torch.save that a kill cannot leave half done."""
    aside = path.with_suffix(".tmp")
    torch.save(state, aside)
    aside.replace(path)
