"""The verb `forgetting`: how fast a log and a model trained on it forget, kept in the record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from recscale import models, pipeline, record
from recscale.evaluation import forgetting


def measure(folder: Path, places: pipeline.Places) -> dict[str, Any]:
    """Put `metrics.behaviour.forgetting` into the record of a run. Raises ValueError."""
    config, store, model = pipeline.reopen(folder, places)
    assert isinstance(model, nn.Module)
    if not models.is_trained(model):
        raise ValueError(f"{folder}: {config.model.name} learns nothing, so it forgets nothing")
    found = {**pipeline.record_of(folder, config, store, model)}
    measured = forgetting.measure(model, store, config.features.history)
    metrics = {**found.get("metrics", {})}
    metrics["behaviour"] = {**metrics.get("behaviour", {}), "forgetting": measured}
    found["metrics"] = metrics
    record.write(found, folder)
    return measured
