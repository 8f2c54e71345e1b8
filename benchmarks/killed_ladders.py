"""kill -9 at random moments: does a ladder lose, repeat or change anything?

    python benchmarks/killed_ladders.py [--moments 10]

A tiny ladder on a synthetic log is climbed undisturbed once. Then again by one worker, and again by
two at a time, with a worker killed (SIGKILL) at each of ten random moments and a new one put in its
place. Counted: finished rungs that were lost, records that were written a second time, rungs that
were begun after they were finished; and whether laws.json is the same, byte for byte. Ends in one
JSON document; exit status 1 where any of that is not as it should be.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from recscale import record
from recscale.pipeline import Places
from recscale.scaling import ladder
from recscale.scaling.worker import Site, climb

LEASE, RUNGS = 3.0, 22
LADDER = {
    "run": {
        "data": {"source": "synthetic", "users": 100, "items": 50, "events_per_user": 15},
        "training": {"validation_requests": 30, "checkpoint_every": 4},
        "evaluation": {"requests": 50},
        "latency": {"requests": 2, "warmup": 0, "candidates": 5},
    },
    "families": {
        "hstu": {"model": {"name": "hstu"}, "width": 4, "head_width": 4, "steps": 40,
                 "targets": 99},
        "dcnv2": {"model": {"name": "dcnv2"}, "width": 2, "steps": 40, "targets": 99},
    },
    "grids": [
        {"sizes": [1, 2, 4], "histories": [2, 4, 8]},
        {"sizes": [1], "histories": [2], "seeds": 2},
    ],
    "held_out": [{"sizes": [6], "histories": [8]}],
}  # fmt: skip


def main() -> None:
    """Climb three times, compare, print the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=10)
    parser.add_argument("--work", nargs=2, type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        _work(*asked.work)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "tiny.yaml").write_text(yaml.safe_dump(LADDER))
        began = time.monotonic()
        _finish([_start(folder, folder / "straight")])
        seconds = time.monotonic() - began
        found = {
            f"{workers} at a time": _disturbed(folder, workers, asked.moments, seconds)
            for workers in (1, 2)
        }
    wrong = [name for name, told in found.items() if not told["as_it_should_be"]]
    print(
        json.dumps(
            {
                "benchmark": "killed_ladders",
                "rungs": RUNGS,
                "undisturbed_seconds": seconds,
                "ladders": found,
                "load_average": os.getloadavg()[0],
                "commit": record.commit(),
            },
            indent=1,
        )
    )
    sys.exit(1 if wrong else 0)


def _work(folder: Path, out: Path) -> None:
    """What each process does until it is killed or there is nothing left."""
    places = Places(folder, folder / "prepared")
    climb(ladder.load(folder / "tiny.yaml"), Site(out, places, lease_seconds=LEASE))


def _disturbed(folder: Path, workers: int, moments: int, seconds: float) -> dict[str, Any]:
    out = folder / f"disturbed-{workers}"
    generator = random.Random(workers)
    crew = [_start(folder, out) for _ in range(workers)]
    kills, lost, seen = [], 0, {}
    for progress in sorted(generator.sample(range(RUNGS), moments)):
        # Spread over the climb by what is finished: time alone would mostly hit start-ups.
        while len(_records(out)) < progress and any(worker.poll() is None for worker in crew):
            time.sleep(0.01)
        time.sleep(generator.uniform(0, seconds / RUNGS))
        victim = generator.randrange(workers)
        running = crew[victim].poll() is None
        crew[victim].send_signal(signal.SIGKILL)
        crew[victim].wait()
        kills.append({"worker": victim, "was_running": running, "finished": len(_records(out))})
        now = _records(out)
        lost += len(seen.keys() - now.keys())
        seen = {**now, **seen}  # as first seen
        crew[victim] = _start(folder, out)
    _finish(crew)
    final = _records(out)
    rewritten = sum(final.get(name) != stamp for name, stamp in seen.items())
    same = (out / "laws.json").read_bytes() == (folder / "straight" / "laws.json").read_bytes()
    attempts = _attempts(out)
    return {
        "kills": kills,
        "killed_while_running": sum(kill["was_running"] for kill in kills),
        "finished_rungs_lost": lost,
        "records_written_twice": rewritten,
        "rungs_begun_after_they_were_finished": _begun_again(out),
        "rungs": len(final),
        "attempts": attempts,
        "laws_are_the_same": same,
        "as_it_should_be": same and not lost and not rewritten and not _begun_again(out),
    }


def _start(folder: Path, out: Path) -> subprocess.Popen[bytes]:
    out.mkdir(exist_ok=True)
    with (out / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, __file__, "--work", str(folder), str(out)], stderr=log
        )


def _finish(crew: list[subprocess.Popen[bytes]]) -> None:
    for process in crew:
        if process.wait():
            raise SystemExit(f"a worker failed with status {process.returncode}")


def _records(out: Path) -> dict[str, int]:
    """Finished rung -> when its record was written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/record.json")}


def _begun_again(out: Path) -> int:
    """Attempts at a rung that some worker had said to be finished before."""
    finished: set[str] = set()
    again = 0
    for line in (out / "log.txt").read_text().splitlines():
        name, _, what = line.partition(": ")
        if what == "finished":
            finished.add(name)
        elif what.startswith("attempt") and name in finished:
            again += 1
    return again


def _attempts(out: Path) -> int:
    return sum(": attempt " in line for line in (out / "log.txt").read_text().splitlines())


if __name__ == "__main__":
    main()
