"""What Prometheus may ask."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import Message, Scope, Send

from recscale.serving.batcher import Batcher
from recscale.serving.service import Service

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
TOGETHER = (1, 2, 4, 8, 16, 32)
PATHS = frozenset({"/score", "/recommend", "/events", "/health", "/metrics"})
GAUGES = {
    "waiting_jobs": "Accepted, not yet begun.",
    "refused_jobs": "Turned away for lack of time.",
    "late_jobs": "Accepted, answered after their budget.",
    "users_held": "Users whose events are held.",
    "events_bytes": "Memory of their events.",
    "events_evicted": "Users whose events had to leave.",
    "states_held": "Users whose state is held.",
    "states_bytes": "Memory of their states.",
    "states_evicted": "States that had to leave.",
}
Run = Callable[[Sequence[Any]], Sequence[Any]]


class Monitor:
    """A registry of its own, so that two servers of a process do not mix."""

    def __init__(self, service: Service) -> None:
        self.service = service
        here = self.registry = CollectorRegistry()
        self.requests = Counter("recscale_requests", "Answers.", ["path", "status"], registry=here)
        self.seconds = Histogram(
            "recscale_request_seconds",
            "Until the answer.",
            ["path"],
            buckets=SECONDS,
            registry=here,
        )
        self.stages = Counter(
            "recscale_stage_seconds", "Of the model thread.", ["stage"], registry=here
        )
        self.together = Histogram(
            "recscale_batch_jobs", "Run together.", buckets=TOGETHER, registry=here
        )
        self.gauges = {
            name: Gauge(f"recscale_{name}", text, registry=here) for name, text in GAUGES.items()
        }

    def timed(self, run: Run) -> Run:
        """`run`, with what it spends by stage."""

        def timed(messages: Sequence[Any]) -> Sequence[Any]:
            answers = run(messages)
            self.together.observe(len(messages))
            for stage, seconds in self.service.engine.spans.take().items():
                self.stages.labels(stage).inc(seconds)
            return answers

        return timed

    def counted(self, scope: Scope, send: Send) -> Send:
        """`send`, with its answer counted. Unknown paths share a label: there is no end of them."""
        path = scope["path"] if scope["path"] in PATHS else "other"

        async def counted(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.start":
                self.requests.labels(path, message["status"]).inc()
                self.seconds.labels(path).observe(time.monotonic() - scope["arrived"])

        return counted

    def text(self, batcher: Batcher) -> bytes:
        """The exposition format."""
        for name, value in self._now(batcher).items():
            self.gauges[name].set(value)
        return generate_latest(self.registry)

    def _now(self, batcher: Batcher) -> Mapping[str, int]:
        engine = self.service.engine
        return {
            "waiting_jobs": batcher.waiting,
            "refused_jobs": batcher.refused,
            "late_jobs": batcher.late,
            "users_held": len(engine.pasts),
            "events_bytes": engine.pasts.nbytes,
            "events_evicted": engine.pasts.evicted,
            "states_held": len(engine.states),
            "states_bytes": engine.states.nbytes,
            "states_evicted": engine.states.evicted,
        }
