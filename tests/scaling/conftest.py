from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from recscale.pipeline import Places
from recscale.scaling import ladder
from recscale.scaling.ladder import Ladder
from recscale.scaling.worker import Site, climb

TINY = {
    "run": {
        "data": {"source": "synthetic", "users": 60, "items": 30, "events_per_user": 10},
        "training": {"validation_requests": 20},
        "evaluation": {"requests": 40},
        "latency": {"requests": 2, "warmup": 0, "candidates": 5},
    },
    "families": {
        "dcnv2": {"model": {"name": "dcnv2", "dropout": 0.2}, "width": 2, "steps": 8, "targets": 99}
    },
    "grids": [
        {"sizes": [1, 2, 4], "histories": [4]},
        {"sizes": [1], "histories": [4], "seeds": 2},
    ],
    "held_out": [{"sizes": [6], "histories": [4]}],
}


def write(folder: Path, **changes: object) -> Path:
    """The tiny ladder's file."""
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, **changes}))
    return path


@pytest.fixture(scope="session")
def climbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ladder, Site]:
    """A tiny ladder, climbed once without disturbance."""
    folder = tmp_path_factory.mktemp("climbed")
    found = ladder.load(write(folder))
    site = Site(folder / "out", Places(folder, folder / "prepared"), lease_seconds=2)
    climb(found, site)
    return found, site


@pytest.fixture
def copied(climbed: tuple[Ladder, Site], tmp_path: Path) -> tuple[Ladder, Site]:
    """The same, in a folder that a test may spoil."""
    found, site = climbed
    shutil.copytree(site.out, tmp_path / "out")
    return found, Site(tmp_path / "out", site.places, lease_seconds=site.lease_seconds)
