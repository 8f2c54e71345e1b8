"""A server under more than it can take, and under what nobody should send.

    python benchmarks/serving_load.py RUN --prepared prepared [--seconds 600 --fuzz 10000]

Starts `recscale serve RUN` in a process of its own and finds the rate that it sustains: the
highest at which all but 1 % are answered within budget. Then it sends twice as much for --seconds,
in an open loop, and at last --fuzz requests that are malformed in every way the generator knows.
The load comes from this process, on the same cores. Ends in one JSON document.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from recscale import record
from recscale.features.store import open_store
from recscale.serving import latency, openloop

JSON = {"Content-Type": "application/json"}
CONNECTIONS = 64
SUSTAINED = 0.01  # share of refused and late requests that a sustained rate may have
GIVE_UP = 30.0  # seconds after which a request counts as failed


@dataclass(slots=True)
class Outcome:
    """What became of a stream of requests."""

    accepted: list[float] = field(default_factory=list)  # milliseconds from the moment due
    server: list[float] = field(default_factory=list)  # milliseconds from sent to answered
    statuses: Counter[int] = field(default_factory=Counter)


@contextmanager
def server(run: Path, prepared: Path, budget_ms: float) -> Iterator[tuple[str, int]]:
    """The address and process id of a server of `run`; stopped at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["serve", str(run), "--port", str(port), "--prepared", str(prepared)]
    process = subprocess.Popen(
        [sys.executable, "-m", "recscale", *words, "--budget-ms", str(budget_ms)],
        stderr=subprocess.PIPE,
        text=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address, process)
        yield address, process.pid
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=60)
        if "Traceback" in errors:
            raise RuntimeError(errors)


async def stream(address: str, bodies: list[bytes], rate: float, seed: int) -> Outcome:
    """Send each body when it is due, whatever became of those before."""
    arrivals = openloop.poisson(rate, len(bodies), seed)
    outcome = Outcome()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=CONNECTIONS)
    async with httpx.AsyncClient(base_url=address, limits=limits, timeout=GIVE_UP) as client:
        start = time.perf_counter()
        tasks: set[asyncio.Task[None]] = set()
        for body, due in zip(bodies, arrivals, strict=True):
            await asyncio.sleep(max(0.0, start + due - time.perf_counter()))
            task = asyncio.create_task(_send(client, body, start + due, outcome))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
    return outcome


async def _send(client: httpx.AsyncClient, body: bytes, due: float, outcome: Outcome) -> None:
    sent = time.perf_counter()
    try:
        answer = await client.post("/score", content=body, headers=JSON)
    except httpx.HTTPError:
        outcome.statuses[0] += 1
        return
    now = time.perf_counter()
    outcome.statuses[answer.status_code] += 1
    if answer.status_code == 200:
        outcome.accepted.append(1e3 * (now - due))
        outcome.server.append(1e3 * (now - sent))


def bodies(prepared: Path, run: Path, count: int, candidates: int, seed: int) -> list[bytes]:
    """Users of the log, each with items of the catalogue, at a moment after its end."""
    digest = json.loads((run / "schema.json").read_text())["digest"]
    store = open_store(prepared / digest, 1)
    items = _column(prepared / digest / "vocabulary" / "item.parquet")
    users = _column(prepared / digest / "users" / "names.parquet")
    late = int(store.history["time"].max()) + 1000
    generator = np.random.default_rng(seed)
    return [
        json.dumps(
            {
                "user": users[int(generator.integers(len(users)))],
                "items": [items[i] for i in generator.integers(len(items), size=candidates)],
                "time": late,
            }
        ).encode()
        for _ in range(count)
    ]


def fuzzed(generator: random.Random, items: list[Any], users: list[Any]) -> tuple[str, bytes]:
    """A path and a body that is wrong in one or more ways, or right by luck."""
    path = generator.choice(["/score", "/recommend", "/events"])
    body: dict[str, Any] = {"user": generator.choice(users)}
    if path == "/score":
        body["items"] = generator.choices(items, k=generator.randint(1, 5))
    if path == "/events":
        moments = sorted(generator.randint(0, 2**41) for _ in range(generator.randint(1, 3)))
        body["events"] = [{"item": generator.choice(items), "time": t} for t in moments]
    for _ in range(generator.randint(0, 3)):
        _spoil(body, generator)
    text = json.dumps(body).encode("utf-8", "surrogatepass")
    match generator.randint(0, 9):
        case 0:
            return path, text[: generator.randint(0, len(text))]
        case 1:
            place = generator.randint(0, len(text))
            return path, text[:place] + generator.randbytes(3) + text[place:]
        case 2:
            return path, generator.choice([b"[" * 50_000, b"null", b"", b"NaN", b"1e999", b'"'])
        case _:
            return path, text


STRANGE: list[Any] = [
    None, True, -1, 0, 1.5, 2**53 + 1, 2**63, -(2**70), 10**400, float("nan"), float("inf"), "",
    "\ud800", "x" * 300, "\u0000", [], {}, [[]], {"a": {}}, ["1"] * 20_000, "12", "1e5", "-0",
]  # fmt: skip
KEYS = ["user", "items", "events", "time", "context", "features", "count", "seen", "item", "extra"]


def _spoil(body: Any, generator: random.Random) -> None:
    """Change one thing somewhere in the body."""
    if isinstance(body, dict) and body and generator.random() < 0.5:
        inner = body[generator.choice(list(body))]
        if isinstance(inner, dict | list) and inner:
            _spoil(inner, generator)
            return
    value = generator.choice([*STRANGE, {generator.choice(KEYS): generator.choice(STRANGE)}])
    if isinstance(body, list):
        body[generator.randrange(len(body))] = value
    elif generator.random() < 0.2 and body:
        del body[generator.choice(list(body))]
    else:
        body[generator.choice(KEYS)] = value


def _overload(address: str, pid: int, asked: argparse.Namespace) -> dict[str, Any]:
    def within(rate: float) -> bool:
        count = max(50, int(rate * asked.probe))
        some = bodies(asked.prepared, asked.run, count, asked.candidates, 1)
        found = asyncio.run(stream(address, some, rate, 1))
        good = sum(ms <= asked.budget_ms for ms in found.accepted)
        print(f"{rate:.1f}/s: {good / len(some):.4f} within", file=sys.stderr)
        return good >= (1 - SUSTAINED) * len(some)

    sustained = openloop.highest(within, asked.lowest, asked.highest, steps=6)
    if sustained is None:
        raise SystemExit(f"not even {asked.lowest} requests a second are sustained")
    rate, before, cpu = 2 * sustained, _resident(pid), time.process_time()
    count = int(rate * asked.seconds)
    some = bodies(asked.prepared, asked.run, min(count, 5000), asked.candidates, 2)
    found = asyncio.run(stream(address, (some * (count // len(some) + 1))[:count], rate, 2))
    accepted = np.sort(np.array(found.accepted))
    return {
        "sustained_rps": sustained,
        "rate_rps": rate,
        "seconds": asked.seconds,
        "requests": count,
        "statuses": dict(found.statuses),
        "accepted": latency.summary(accepted, asked.budget_ms),
        "accepted_sent_to_answer": latency.summary(np.array(found.server), asked.budget_ms),
        "accepted_within_budget": float((accepted <= asked.budget_ms).mean()),
        "server_resident_mib": {"before": before, "after": _resident(pid)},
        "generator_cpu_share": (time.process_time() - cpu) / asked.seconds,
    }


def _fuzz(address: str, asked: argparse.Namespace) -> dict[str, Any]:
    digest = json.loads((asked.run / "schema.json").read_text())["digest"]
    folder = asked.prepared / digest
    items = _column(folder / "vocabulary" / "item.parquet")
    users = _column(folder / "users" / "names.parquet")
    generator, statuses = random.Random(0), Counter[int]()
    with httpx.Client(base_url=address, timeout=GIVE_UP) as client:
        for _ in range(asked.fuzz):
            path, body = fuzzed(generator, items, users)
            statuses[client.post(path, content=body, headers=JSON).status_code] += 1
        healthy = client.get("/health").status_code == 200
    return {
        "requests": asked.fuzz,
        "statuses": dict(statuses),
        "server_errors": sum(count for status, count in statuses.items() if status >= 500),
        "healthy_afterwards": healthy,
    }


def _wait_for(address: str, process: subprocess.Popen[str]) -> None:
    for _ in range(1200):
        try:
            httpx.get(f"{address}/health")
        except httpx.HTTPError:
            if process.poll() is not None:
                raise SystemExit(process.communicate()[1]) from None
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the server did not come up")


def _column(path: Path) -> list[Any]:
    import polars as pl

    return pl.read_parquet(path)["value"].to_list()


def _resident(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Measure and print the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--prepared", type=Path, default=Path("prepared"))
    parser.add_argument("--budget-ms", type=float, default=50.0)
    parser.add_argument("--candidates", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--probe", type=float, default=10.0, help="seconds of a probed rate")
    parser.add_argument("--lowest", type=float, default=2.0, help="requests a second")
    parser.add_argument("--highest", type=float, default=400.0)
    parser.add_argument("--fuzz", type=int, default=10_000)
    asked = parser.parse_args()
    with server(asked.run, asked.prepared, asked.budget_ms) as (address, pid):
        overload = _overload(address, pid, asked)
        fuzz = _fuzz(address, asked)
    head = {"benchmark": "serving_load", "run": asked.run.name, "candidates": asked.candidates}
    tail = {"load_average": os.getloadavg(), "commit": record.commit(), "machine": record.machine()}
    print(json.dumps({**head, "overload": overload, "fuzz": fuzz, **tail}))


if __name__ == "__main__":
    main()
