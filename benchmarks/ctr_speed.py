"""DIN and DCNv2 beside FuxiCTR's: the same exposures, features, widths, batch and one thread.

    python benchmarks/ctr_speed.py --peer PEER_VENV [--repeats 3] [--seeds 2]

Makes the peer's environment where there is none. Both sides read the arrays of one prepared folder.
Two sets of features: `ids` (users' features, item ids, clock: exactly the same numbers on both
sides) and `full` (all that each side can take; ours sums an event's features into one vector, the
peer's attention reads item ids and pools the other sequences). Each measurement is a fresh process,
ours and theirs in turn. Ends in one JSON document: samples a core-second in training and scoring,
peak memory, auc and gauc after one epoch and at the best validation, and the paired bootstrap
differences to the peer.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from recscale import record
from recscale.data.sources.kuairand import COLUMNS
from recscale.evaluation import bootstrap, metrics

HERE = Path(__file__).parent
PEER = ["fuxictr==2.3.10", "torch==2.13.0", "polars<2"]
SETS = {"ids": tuple(COLUMNS.user), "full": None}
WIDTH = {"din": 16, "dcnv2": 16}
REGULARIZERS = (0.0, 1e-5)  # of the peer's tables: it keeps the best on validation


def main() -> None:
    """Measure everything and print the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", type=Path, required=True, help="its virtual environment")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("RECSCALE_DATA", "data")))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--samples", type=int, default=1024, help="of a batch, on average")
    parser.add_argument("--activation", default="Dice", help="of the peer's attention: its default")
    parser.add_argument("--models", nargs="+", default=["din", "dcnv2"])
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    asked = parser.parse_args()
    _install(asked.peer)
    results: dict[str, Any] = {}
    for name in asked.sets:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            ours = [sys.executable, str(HERE / "peers" / "ours_ctr.py"), str(folder)]
            _call([*ours, json.dumps({"export": str(asked.data), "include": SETS[name]})])
            for model in asked.models:
                results[f"{model}-{name}"] = _compare(model, folder, ours, asked)
    print(
        json.dumps(
            {
                "benchmark": "ctr_speed",
                "peer": PEER[0],
                "peer_activation": asked.activation,
                "results": results,
                "load_average": os.getloadavg()[0],
                "commit": record.commit(),
                "machine": record.machine(),
            },
            indent=1,
        )
    )


def _install(peer: Path) -> None:
    if (peer / "bin" / "python").exists():
        return
    subprocess.run([sys.executable, "-m", "venv", str(peer)], check=True)
    command = [str(peer / "bin" / "python"), "-m", "pip", "install", "--quiet", *PEER]
    subprocess.run(command, check=True)


def _compare(
    model: str, folder: Path, ours: list[str], asked: argparse.Namespace
) -> dict[str, Any]:
    """Both sides in turn for speed, then each to its best validation."""
    theirs = [str(asked.peer / "bin" / "python"), str(HERE / "peers" / "fuxictr_ctr.py")]
    theirs.append(str(folder))
    speed: dict[str, list[dict[str, Any]]] = {"ours": [], "peer": []}
    for repeat in range(asked.repeats):
        settings = _settings(model, asked, seed=repeat) | {"epochs": 3, "once": True}
        for side, command in (("ours", ours), ("peer", theirs)):
            told = _call([*command, json.dumps(settings | {"name": f"{side}-speed-{repeat}"})])
            told["first"] = _metrics(folder, f"{side}-speed-{repeat}-first")
            speed[side].append(told)
    found: dict[str, Any] = {side: _median(runs) for side, runs in speed.items()}
    for key in ("samples_per_core_second", "score_samples_per_core_second"):
        found[f"ratio_{key}"] = found["ours"][key] / found["peer"][key]
    return found | {"best": _best(model, folder, ours, theirs, asked)}


def _best(
    model: str, folder: Path, ours: list[str], theirs: list[str], asked: argparse.Namespace
) -> dict[str, Any]:
    """Each side to its best validation gauc, over seeds; the peer's best regulariser is kept."""
    gained: dict[str, list[bootstrap.Resampled]] = {"auc": [], "gauc": []}
    lost: dict[str, list[bootstrap.Resampled]] = {"auc": [], "gauc": []}
    values: dict[str, list[dict[str, float]]] = {"ours": [], "peer": []}
    for seed in range(asked.seeds):
        settings = _settings(model, asked, seed) | {"epochs": 12, "patience": 3, "once": False}
        _call([*ours, json.dumps(settings | {"name": "ours"})])
        tried = {
            regulariser: _call(
                [*theirs, json.dumps(settings | {"name": f"peer{regulariser}",
                                                 "regularizer": regulariser})]
            )
            for regulariser in REGULARIZERS
        }  # fmt: skip
        kept = max(tried, key=lambda found: max(e["valid_gauc"] for e in tried[found]["epochs"]))
        for side, name in (("ours", "ours-best"), ("peer", f"peer{kept}-best")):
            values[side].append(_metrics(folder, name) | {"regularizer": kept} * (side == "peer"))
            draws = _resampled(folder, name)
            for metric, drawn in draws.items():
                (gained if side == "ours" else lost)[metric].append(drawn)
    differences = {
        metric: vars_of(bootstrap.difference(bootstrap.average(gained[metric]),
                                             bootstrap.average(lost[metric])))
        for metric in gained
    }  # fmt: skip
    return {"seeds": values, "ours_minus_peer": differences}


def vars_of(interval: bootstrap.Interval) -> dict[str, float]:
    """An interval as JSON."""
    return {name: getattr(interval, name) for name in ("mean", "low", "high", "p")}


def _settings(model: str, asked: argparse.Namespace, seed: int) -> dict[str, Any]:
    """What both sides are told."""
    return {
        "model": model,
        "seed": seed,
        "width": WIDTH[model],
        "attention": 64,  # as measured before, and the peer's default
        "activation": asked.activation,
        "hidden": [128, 64],
        "crosses": 2,
        "structure": "parallel",
        "dropout": 0.1,
        "lr": 1e-3,
        "regularizer": 0.0,
        "batch": asked.samples,
        "patience": 3,
    }


def _metrics(folder: Path, name: str) -> dict[str, float]:
    test = np.load(folder / "test.npz")
    score = _logit(np.load(folder / f"{name}.npy"))
    return metrics.ranking(test["user_index"], test["click"], score)


def _resampled(folder: Path, name: str) -> dict[str, bootstrap.Resampled]:
    test = np.load(folder / "test.npz")
    parts = test["user_index"], test["click"], np.load(folder / f"{name}.npy")
    return {"auc": bootstrap.auc(*parts), "gauc": bootstrap.gauc(*parts)}


def _logit(probability: np.ndarray) -> np.ndarray:
    clipped = probability.clip(1e-7, 1 - 1e-7)
    return np.log(clipped) - np.log1p(-clipped)


def _median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Over repeats: the middle of each speed and of what one epoch reached."""
    speeds = [max(e["samples_per_core_second"] for e in run["epochs"]) for run in runs]
    scoring = [run["score_samples_per_core_second"] for run in runs]
    return {
        "samples_per_core_second": statistics.median(speeds),
        "samples_per_core_second_all": speeds,
        "score_samples_per_core_second": statistics.median(scoring),
        "peak_memory_mb": statistics.median(run["peak_memory_mb"] for run in runs),
        "parameters": runs[0]["parameters"],
        "one_epoch": {
            name: statistics.mean(run["first"][name] for run in runs) for name in ("auc", "gauc")
        },
    }


def _call(command: list[str]) -> dict[str, Any]:
    """The JSON document that a fresh process ends in."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    told = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if told.returncode:
        raise SystemExit(f"{command[1]} {command[-1]}:\n{told.stderr[-2000:]}")
    return json.loads(told.stdout.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
