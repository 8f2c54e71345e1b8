"""A trained run, timed again: one request after the other, or under a load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recscale import configfile, record
from recscale.config import RunConfig
from recscale.pipeline import Places, record_of, reopen
from recscale.serving import trial
from recscale.serving.latency import LatencyConfig, Load


def latency(folder: Path, places: Places, changes: dict[str, Any]) -> dict[str, Any]:
    """Time a trained run again, with other latency settings; the record's latency is replaced."""
    config, store, model = reopen(folder, places)
    found = {**record_of(folder, config, store, model)}
    found["latency"] = trial.timed(model, store, _asked(config, changes))
    record.write(found, folder)
    return found["latency"]


def under_load(
    folder: Path, places: Places, changes: dict[str, Any], asked: Load
) -> dict[str, Any]:
    """Time a trained run under a load; the record keeps the last trial of each kind."""
    config, store, model = reopen(folder, places)
    found = {**record_of(folder, config, store, model)}
    measured = trial.timed(model, store, _asked(config, changes), asked)
    trials = trial.replace_same(found.get("load", {}).get("trials", []), measured)
    record.write({**found, "load": {"trials": trials}}, folder)
    return measured


def _asked(config: RunConfig, changes: dict[str, Any]) -> LatencyConfig:
    return configfile.check(LatencyConfig, {**config.latency.model_dump(), **changes})
