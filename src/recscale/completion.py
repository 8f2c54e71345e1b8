"""Runs that are begun but not finished, and how they get there."""

from __future__ import annotations

from pathlib import Path

from recscale import configfile, pipeline, record
from recscale.config import RunConfig
from recscale.types import Record


def is_done(folder: Path, config: RunConfig) -> bool:
    """Whether a run is finished. Raises ValueError where it was made with other settings."""
    if not (folder / record.FILE).exists():
        return False
    found = record.read(folder)
    if configfile.check(RunConfig, found["config"]) != config:
        raise ValueError(
            f"{folder}/record.json: made with other settings; remove the folder or give another "
            "--out"
        )
    # Ctrl-C and `evaluate` leave a record of a run whose training is not over.
    interrupted = "train" not in found and (folder / "last.ckpt").exists()
    return "metrics" in found and not interrupted


def finish(config: RunConfig, folder: Path, places: pipeline.Places) -> Record:
    """Run from the start, or from the last checkpoint that a killed run left."""
    (folder / record.FILE).unlink(missing_ok=True)  # of an interrupted run: see is_done
    return pipeline.run(config, folder, places, resume=(folder / "last.ckpt").exists())
