"""Several configs, several seeds, the same requests: train what has no record."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from recscale import completion, configfile, pipeline, record, timing
from recscale.config import RunConfig, load
from recscale.features.prepare import prepare
from recscale.types import Record


def named(paths: Sequence[Path], overrides: Sequence[str]) -> dict[str, RunConfig]:
    """Run name -> settings of every config file, with the same overrides applied to all.

    Raises ConfigError for a wrong setting, for two files of one name, and for files whose requests
    differ: other data, split, features or evaluation cannot be compared.
    """
    configs: dict[str, RunConfig] = {}
    for path in paths:
        if path.stem in configs:
            raise configfile.ConfigError(f"{path}: a second config named {path.stem}")
        try:
            configs[path.stem] = load(path, overrides)
        except configfile.ConfigError as error:
            raise configfile.ConfigError(f"{path}: {error}") from error
    first, *others = configs.items()
    for name, config in others:
        for section in ("data", "split", "features", "evaluation"):
            if getattr(config, section) != getattr(first[1], section):
                raise configfile.ConfigError(
                    f"{section}: differs between {first[0]} and {name}; a comparison needs the "
                    "same requests for every model"
                )
    return configs


def run_all(
    configs: dict[str, RunConfig],
    seeds: Iterable[int],
    out: Path,
    places: pipeline.Places,
    jobs: int = 1,
) -> list[Record]:
    """The records of every config and seed under `out`, trained where there is none yet.

    jobs: processes side by side, each with its share of the cores. Every run has a process of its
    own, so that its peak memory is its own; what ran beside others is timed again, alone.
    """
    runs = {
        out / f"{name}-s{config.seed + seed}": config.model_copy(
            update={"seed": config.seed + seed}
        )
        for seed in seeds
        for name, config in configs.items()
    }
    missing = [folder for folder, config in runs.items() if not completion.is_done(folder, config)]
    if missing:
        # The log is prepared before the processes start: each then finds it there.
        prepare(runs[missing[0]].recipe, places.raw, places.prepared)
        # Combiners come last: they find their members among the others.
        for combined in (False, True):
            chosen = [folder for folder in missing if bool(runs[folder].members) is combined]
            _run_apart({folder: runs[folder] for folder in chosen}, places, jobs)
    for folder in missing if jobs > 1 else ():
        timing.latency(folder, places, {})
    # With every setting named: a record may be from before one of them, at its default, was there.
    return [
        {**record.read(folder), "config": config.model_dump(mode="json")}
        for folder, config in runs.items()
    ]


def _run_apart(runs: dict[Path, RunConfig], places: pipeline.Places, jobs: int) -> None:
    """At most `jobs` at a time; a failure or Ctrl-C starts no further one."""
    spawn = multiprocessing.get_context("spawn")  # a forked torch deadlocks in OpenMP
    threads = max(1, (os.cpu_count() or 1) // jobs) if jobs > 1 else torch.get_num_threads()
    waiting = list(runs.items())
    with ProcessPoolExecutor(
        jobs, spawn, torch.set_num_threads, (threads,), max_tasks_per_child=1
    ) as pool:
        running: set[Future[Record]] = set()
        while waiting or running:
            while waiting and len(running) < jobs:
                folder, config = waiting.pop(0)
                running.add(pool.submit(completion.finish, config, folder, places))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for finished in done:
                try:
                    finished.result()
                except BrokenProcessPool as error:
                    raise ValueError(
                        "a run's process was ended from outside, perhaps for want of memory; the "
                        "same command goes on"
                    ) from error
