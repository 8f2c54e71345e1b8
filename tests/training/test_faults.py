"""A process that dies takes its run down at once, or the run goes on from its last checkpoint."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from tests.training.jobs import SECONDS, finish, process, torchrun

CONFIG = """
data: {source: synthetic, users: 200, items: 150, events_per_user: 20}
model: {name: din, width: 16}
features: {history: 10}
training: {steps: 60, batch_size: 16, table_lr: 0.02, validate_every: 20, checkpoint_every: 10,
           validation_requests: 20, patience: 9, metric: ndcg@10}
latency: {requests: 3, candidates: 10}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    (folder / "run.yaml").write_text(CONFIG)
    return folder


def train(place: Path, name: str, restarts: int = 0) -> subprocess.Popen[str]:
    words = ["--out", str(place / name), "--prepared", str(place / "prepared"), "--json"]
    verb = ["-m", "recscale", "train", str(place / "run.yaml"), *words]
    return torchrun(2, *verb, restarts=restarts)


def kill_one(job: subprocess.Popen[str], folder: Path) -> int:
    """SIGKILL to the second process, in the middle of an epoch, once there is a checkpoint.

    Returns the id of the first process.
    """
    late = time.monotonic() + SECONDS
    while not (folder / "last.ckpt" / ".metadata").exists():
        assert job.poll() is None, job.communicate()[1][-3000:]
        assert time.monotonic() < late, "no checkpoint"
        time.sleep(0.02)
    first, second = (process(job, rank) for rank in (0, 1))
    os.kill(second, signal.SIGKILL)
    return first


def test_a_lost_process_ends_the_job_with_one_line_within_a_minute(place: Path):
    job = train(place, "lost")
    survivor = kill_one(job, place / "lost")
    os.kill(survivor, signal.SIGTERM)  # torchrun sends it too, before or after the line is said
    began = time.monotonic()
    _, told = finish(job)
    assert time.monotonic() - began < 60
    assert job.returncode != 0
    lines = [line for line in told.splitlines() if line.startswith("recscale:")]
    assert len(lines) == 1, told[-3000:]
    assert "another process of this run was lost" in lines[0]
    assert not (place / "lost" / "record.json").exists()


def left(folder: Path) -> dict[str, object]:
    """What does not depend on the clock: weights, curve, metrics."""
    weights = torch.load(folder / "model.ckpt", weights_only=True)
    curve = [line.split(",") for line in (folder / "events.csv").read_text().splitlines()]
    record = json.loads((folder / "record.json").read_text())
    return {
        "weights": {name: weight.tolist() for name, weight in weights.items()},
        "curve": [[step, events, loss, value] for step, _, events, _, loss, value in curve],
        "metrics": record["metrics"],
        "events": record["train"]["events"],
    }


def test_a_restarted_run_ends_as_an_undisturbed_one(place: Path):
    """Hazard 7, over processes: torchrun starts both again, and they go on by themselves."""
    straight = train(place, "straight")
    document, told = finish(straight)
    assert straight.returncode == 0, told[-3000:]
    job = train(place, "killed", restarts=1)
    kill_one(job, place / "killed")
    _, told = finish(job)
    assert job.returncode == 0, told[-3000:]
    assert "was lost" in told  # the kill came before the end
    ours, theirs = (left(place / name) for name in ("killed", "straight"))
    assert ours == theirs
    assert json.loads(document.splitlines()[-1])["metrics"] == theirs["metrics"]
