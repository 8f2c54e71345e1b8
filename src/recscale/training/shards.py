"""Checkpoints that every process writes its part of: torch.distributed.checkpoint, seen whole."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch.distributed.checkpoint.state_dict_loader import load as load_shards
from torch.distributed.checkpoint.state_dict_saver import save as save_shards

from recscale.models import ranks

REST = "rest.pt"  # what is no shard: counters, callbacks, schedules, dense optimiser, generators
META = ".metadata"


def save(state: dict[str, Any], folder: Path) -> None:
    """Every process calls it with its own shards."""
    if ranks.rank() == 0:
        shutil.rmtree(folder, ignore_errors=True)
    ranks.gather(None)
    save_shards(state, checkpoint_id=folder)


def load(state: dict[str, Any], folder: Path) -> None:
    """Into `state`, in place, whatever number of processes saved. Raises ValueError."""
    require_whole(folder)
    load_shards(state, checkpoint_id=folder)


def place(aside: Path, folder: Path) -> None:
    """Put a finished checkpoint where the last one was; a kill leaves one of the two whole."""
    old = before(folder)
    if folder.is_dir():
        shutil.rmtree(old, ignore_errors=True)
        folder.replace(old)
    aside.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


def before(folder: Path) -> Path:
    """Where `place` keeps the checkpoint before this one for a moment."""
    return folder.with_suffix(".old")


def require_whole(folder: Path) -> None:
    """Raises ValueError that names the first file that is missing."""
    files = [META, REST] if (folder / META).exists() else [META]
    if (folder / META).exists():
        plan = FileSystemReader(folder).read_metadata()
        files += sorted({place.relative_path for place in (plan.storage_data or {}).values()})
    for name in files:
        if not (folder / name).exists():
            raise ValueError(
                f"{folder}: no {name}: the checkpoint holds not every process's shards"
            )


def consolidate(folder: Path, path: Path) -> None:
    """The model of a checkpoint as one file of whole tensors, as one process writes it."""
    aside = path.with_suffix(".tmp")
    dcp_to_torch_save(folder, aside)
    weights = torch.load(aside, weights_only=False)["model"]
    torch.save(weights, aside)
    aside.replace(path)
