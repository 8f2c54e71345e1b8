"""Starting torchrun in a test, and not waiting for it for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SECONDS = 300  # a start takes ten on a quiet machine; a hang takes for ever


def torchrun(processes: int, *command: str, restarts: int = 0) -> subprocess.Popen[str]:
    """Start `command` as several processes, each on one thread."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    counts = [f"--nproc_per_node={processes}", f"--max-restarts={restarts}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    return subprocess.Popen(
        [*launcher, *counts, *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(job: subprocess.Popen[str]) -> tuple[str, str]:
    """What it printed; a job that hangs is killed and fails the test."""
    try:
        return job.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        job.terminate()  # torchrun ends its processes
        job.communicate()
        pytest.fail(f"no end within {SECONDS} s")


def process(job: subprocess.Popen[str], rank: int) -> int:
    """The id of one of a job's processes."""
    (found,) = (
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _is(entry, job.pid, rank)
    )
    return found


def _is(entry: Path, parent: int, rank: int) -> bool:
    try:
        status, environment = (entry / "stat").read_text(), (entry / "environ").read_bytes()
    except OSError:  # it ended, or is not ours
        return False
    above = int(status.rpartition(")")[2].split()[1])
    return above == parent and f"RANK={rank}".encode() in environment.split(b"\0")
