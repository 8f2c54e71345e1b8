"""A small trained run on a log with every kind of feature, and its server in this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from fastapi.testclient import TestClient

from recscale import configfile, pipeline
from recscale.config import RunConfig
from recscale.features.store import Store
from recscale.pipeline import Places
from recscale.serving import app
from recscale.serving.batcher import BatchConfig
from recscale.serving.engine import EngineConfig
from recscale.serving.service import Service
from recscale.types import Ranker

PATIENT = BatchConfig(budget_ms=60_000)  # a busy machine must not turn a test's request away
SETTINGS = {
    "data": {"source": "synthetic", "users": 120, "items": 60, "events_per_user": 20},
    "features": {"history": 10},
    "model": {"name": "hstu", "blocks": 1, "width": 8, "heads": 1},
    "training": {"steps": 8, "batch_size": 8, "validate_every": 8},
    "evaluation": {"requests": 20},
    "latency": {"requests": 2, "warmup": 0, "candidates": 5},
}


@dataclass(frozen=True)
class Trained:
    """A run folder, and what it holds."""

    folder: Path
    places: Places
    store: Store
    model: Ranker


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    home = tmp_path_factory.mktemp("served")
    places = Places(raw=home, prepared=home / "prepared")
    pipeline.run(configfile.check(RunConfig, SETTINGS), home / "run", places)
    _, store, model = pipeline.reopen(home / "run", places)
    return Trained(home / "run", places, store, model)


@pytest.fixture
def service(run: Trained) -> Service:
    _, store, model = pipeline.reopen(run.folder, run.places)
    torch.manual_seed(0)
    return Service(model, store, EngineConfig())


@pytest.fixture
def client(service: Service) -> Iterator[TestClient]:
    with TestClient(app.build(service, PATIENT, "run"), raise_server_exceptions=False) as client:
        yield client
