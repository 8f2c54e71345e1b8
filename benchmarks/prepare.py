"""How long, and in how much memory, a large log becomes a prepared folder.

    python benchmarks/prepare.py --events 20000000

Writes a synthetic log of that size (kept in --folder and used again), then prepares it in a fresh
process, so that the peak is the preparation's own. Ends in one JSON document: wall and CPU seconds,
events a core-second, peak resident memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl

from recscale import record
from recscale.data.split import SplitConfig
from recscale.data.synthetic import SyntheticConfig, generate
from recscale.features.config import FeaturesConfig
from recscale.features.prepare import Recipe, prepare, summary

EVENTS_PER_USER = 100


def main() -> None:
    """Measure both steps and print the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--folder", type=Path, default=None, help="where the log is kept")
    parser.add_argument("--prepare-only", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.prepare_only:
        print(json.dumps(_prepare(_config(asked.events), asked.folder)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        written = _clock(lambda: generate(_config(asked.events), folder))
        child = [sys.executable, __file__, "--prepare-only", "--events", str(asked.events)]
        told = subprocess.run(
            [*child, "--folder", str(folder)], check=True, capture_output=True, text=True
        )
    print(
        json.dumps(
            {
                "benchmark": "prepare",
                "events": asked.events,
                "write": written,
                "prepare": json.loads(told.stdout),
                "load_average": os.getloadavg()[0],
                "polars_threads": pl.thread_pool_size(),
                "commit": record.commit(),
                "machine": record.machine(),
            }
        )
    )


def _config(events: int) -> SyntheticConfig:
    return SyntheticConfig(
        users=events // EVENTS_PER_USER, items=100_000, events_per_user=EVENTS_PER_USER
    )


def _prepare(config: SyntheticConfig, folder: Path) -> dict[str, object]:
    recipe = Recipe(data=config, split=SplitConfig(), features=FeaturesConfig())
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        measured = _clock(lambda: prepare(recipe, folder, Path(fresh)))
        (made,) = Path(fresh).iterdir()
        events = summary(made)["events"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        **measured,
        "events": events,
        "events_per_core_second": events / measured["cpu_seconds"],
        "peak_gib": peak,
    }


def _clock(step: Callable[[], object]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    step()
    return {
        "wall_seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
    }


if __name__ == "__main__":
    main()
