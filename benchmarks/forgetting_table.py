"""Does forgetting help, and is it forgetting? Kernel x model x log, with the controls beside each.

    python benchmarks/forgetting_table.py [--logs ml100k kuairand] [--seeds 3] [--hours 2]

Trains configs/forgetting_<log>_<model>.yaml with each kind of forgetting, on the log as it is, with
its gaps permuted and with clocks that show the hour only. Row by row, most informative first; what
has a record under --out is not run again, so that the same command goes on where it was stopped.
Each record is written as it comes, and with it table.md: gains over no forgetting paired by seed,
with a verdict by the rule of recscale/report/verdict.py. Ends in one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from recscale import configfile, pipeline, record
from recscale.config import RunConfig
from recscale.report.verdict import Verdict, markdown, verdicts

ROOT = Path(__file__).parents[1]
LOGS = {"ml100k": "retrieval.ndcg@10", "kuairand": "ranking.gauc",
        "ml1m_exact": "retrieval.ndcg@10", "online_retail": "retrieval.ndcg@10",
        "globo": "retrieval.ndcg@10"}  # fmt: skip
MODELS = ("hstu", "din")
KINDS = ("none", "mixture", "bucket", "power")
CONTROLS = ("none", "permute_gaps", "hour")


def main() -> None:
    """Run what is missing until the time is up; write the table after every run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", nargs="+", choices=LOGS, default=list(LOGS))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--hours", type=float, default=1e9)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/forgetting")
    parser.add_argument("--runs", type=Path, default=Path("runs/forgetting"))
    parser.add_argument("--prepared", type=Path, default=Path("prepared"))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    places = pipeline.Places(Path(os.environ.get("RECSCALE_DATA", "data")), asked.prepared)
    stop = time.monotonic() + 3600 * asked.hours
    todo = [arm for arm in arms(asked.logs, asked.models, asked.seeds)
            if not (asked.out / arm[0] / record.FILE).exists()]  # fmt: skip
    for name, config in todo:
        if time.monotonic() > stop:
            break
        run(config, asked.runs / name, asked.out / name, places)
        write_table(asked.out)
    found = write_table(asked.out)
    left = sum(not (asked.out / name / record.FILE).exists() for name, _ in todo)
    said = [{"log": v.log, "model": v.model, "kind": v.kind, "said": v.said} for v in found]
    print(json.dumps({"benchmark": "forgetting_table", "runs_left": left, "verdicts": said}))


def arms(logs: list[str], models: list[str], seeds: int) -> Iterator[tuple[str, RunConfig]]:
    """Name and settings of every run: the controls of a log after the log as it is."""
    for control in CONTROLS:
        for log in logs:
            for model in models:
                path = ROOT / "configs" / f"forgetting_{log}_{model}.yaml"
                for seed in range(seeds):
                    for kind in KINDS:
                        changes = [f"model.forgetting.kind={kind}", f"seed={seed}"]
                        changes += [f"data.control={control}"]
                        config = configfile.load(RunConfig, path, changes)
                        yield f"{log}_{model}_{control}_{kind}-s{seed}", config


def run(config: RunConfig, folder: Path, kept: Path, places: pipeline.Places) -> None:
    """Train one arm; only its record is kept."""
    pipeline.run(config, folder, places, resume=(folder / "last.ckpt").exists())
    kept.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / record.FILE, kept / record.FILE)


def write_table(out: Path) -> list[Verdict]:
    """table.md from the records there are."""
    runs = [record.read(path.parent) for path in sorted(out.glob(f"*/{record.FILE}"))]
    found: list[Verdict] = []
    for log, metric in LOGS.items():
        ours = [run for run in runs if run["name"].startswith(f"{log}_")]
        found += verdicts(ours, f"metrics.{metric}")
    note = "Gains in ndcg@10 (gauc on KuaiRand) over no forgetting, ± standard error over seeds.\n"
    (out / "table.md").write_text(f"{note}\n{markdown(found)}\n", encoding="utf-8")
    return found


if __name__ == "__main__":
    main()
