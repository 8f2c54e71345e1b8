"""Several configs, several seeds, the same requests: train what has no record."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from recscale import configfile, pipeline, record
from recscale.config import RunConfig
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
            configs[path.stem] = configfile.load(RunConfig, path, overrides)
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

    jobs: processes side by side, each with its own share of the threads.
    """
    runs = [
        (seeded, out / f"{name}-s{seeded.seed}")
        for seed in seeds
        for name, config in configs.items()
        for seeded in [config.model_copy(update={"seed": config.seed + seed})]
    ]
    if jobs == 1:
        return [_run_once(config, folder, places) for config, folder in runs]
    # The log is prepared before the processes start, so that they do not race to write it.
    prepare(runs[0][0].recipe, places.raw, places.prepared)
    spawn = multiprocessing.get_context("spawn")  # a forked torch deadlocks in OpenMP
    with ProcessPoolExecutor(jobs, spawn, max_tasks_per_child=1) as pool:
        return list(pool.map(_run_once, *zip(*runs, strict=True), [places] * len(runs)))


def _run_once(config: RunConfig, folder: Path, places: pipeline.Places) -> Record:
    if not (folder / "record.json").exists():
        return pipeline.run(config, folder, places, resume=(folder / "last.ckpt").exists())
    found = record.read(folder)
    if found["config"] != config.model_dump(mode="json"):
        raise ValueError(
            f"{folder}/record.json: made with other settings; remove the folder or give another "
            "--out"
        )
    return found
