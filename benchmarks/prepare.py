"""How long, and in how much memory, a large log becomes a prepared folder.

    python benchmarks/prepare.py --events 20000000

Writes a synthetic log of that size (kept in --folder and used again), prepares it, and starts an
epoch on it: each step in a fresh process, so that each peak is the step's own. Ends in one JSON
document: wall and CPU seconds, events a core-second, peak resident memory, seconds from opening the
prepared folder to the first batch.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
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
from recscale.features.batches import Loader
from recscale.features.config import FeaturesConfig
from recscale.features.planned import planned_rows
from recscale.features.prepare import Recipe, prepare, summary
from recscale.features.store import open_store

EVENTS_PER_USER = 100


def main() -> None:
    """Measure both steps and print the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--folder", type=Path, default=None, help="where the log is kept")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step:
        print(json.dumps(STEPS[asked.step](asked.events, asked.folder)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        measured = {step: _measure(step, asked.events, folder) for step in STEPS}
        shutil.rmtree(folder / "prepared")
    print(
        json.dumps(
            {
                "benchmark": "prepare",
                "events": asked.events,
                **measured,
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


def _recipe(events: int) -> Recipe:
    return Recipe(data=_config(events), split=SplitConfig(), features=FeaturesConfig())


def _measure(step: str, events: int, folder: Path) -> dict[str, object]:
    child = [sys.executable, __file__, "--step", step, "--events", str(events)]
    told = subprocess.run(
        [*child, "--folder", str(folder)], check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, object] = json.loads(told.stdout)
    return found


def _write(events: int, folder: Path) -> dict[str, object]:
    return {**_clock(lambda: generate(_config(events), folder)), "peak_gib": _peak_gib()}


def _prepare(events: int, folder: Path) -> dict[str, object]:
    shutil.rmtree(folder / "prepared", ignore_errors=True)
    measured = _clock(lambda: prepare(_recipe(events), folder, folder))
    made = folder / _only(folder)
    made.rename(folder / "prepared")
    counted = summary(folder / "prepared")["events"]
    return {
        **measured,
        "events": counted,
        "events_per_core_second": counted / measured["cpu_seconds"],
        "peak_gib": _peak_gib(),
    }


def _first_batch(events: int, folder: Path) -> dict[str, object]:
    started, worked = time.perf_counter(), time.process_time()
    history = _recipe(events).features.history
    store = open_store(folder / "prepared", history)
    loader = Loader(store, planned_rows(store, history), batch_size=128, seed=0)
    batch = next(iter(loader))
    return {
        "wall_seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - worked,
        "rows": len(loader.rows),
        "history_events": len(batch.history.time),
        "peak_gib": _peak_gib(),
    }


STEPS = {"write": _write, "prepare": _prepare, "first_batch": _first_batch}


def _only(folder: Path) -> str:
    (found,) = (path.name for path in folder.iterdir() if path.name != "synthetic")
    return found


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _clock(step: Callable[[], object]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    step()
    return {
        "wall_seconds": time.perf_counter() - wall,
        "cpu_seconds": time.process_time() - cpu,
    }


if __name__ == "__main__":
    main()
