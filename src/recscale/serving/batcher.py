"""Requests that wait for one another a little, and are turned away while there is still time.

One thread runs the model. What waits is run together, up to a number of jobs, once the oldest has
waited long enough for company. A job is accepted only if, by what the last ones took, it will be
answered within its budget; the rest is told at once when to come back.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import Field

from recscale.configfile import Settings

MEMORY = 256  # runs whose times are remembered
CAUTION = 95  # percentile of those times that a promise is based on
RESERVE = 0.8  # share of the budget that may be promised: reading and writing take their part


class BatchConfig(Settings):
    """How long a request may take, and how much company it waits for."""

    budget_ms: float = Field(default=50.0, gt=0)
    jobs: int = Field(default=8, ge=1)  # run together at most
    wait_ms: float = Field(default=1.0, ge=0)  # for company, only while the model is idle


class OverloadedError(Exception):
    """Not accepted: come back in `seconds`."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"overloaded; come back in {seconds} s")
        self.seconds = seconds


@dataclass(slots=True)
class _Job:
    work: Any
    due: float  # the moment its answer is too late
    since: float
    answer: Future[Any] = field(default_factory=Future)


class Batcher:
    """`run` gets the work of one or more jobs and gives as many answers, exceptions among them."""

    def __init__(self, run: Callable[[Sequence[Any]], Sequence[Any]], config: BatchConfig) -> None:
        self.run, self.config = run, config
        self.refused = self.late = 0
        self._jobs: deque[_Job] = deque()
        self._running = 0
        self._took: deque[float] = deque(maxlen=MEMORY)
        self._usual = 0.0
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Jobs accepted and not yet begun."""
        return len(self._jobs)

    def check(self) -> None:
        """Raises OverloadedError when a job that came now would be answered too late."""
        expected = self._expected()
        busy = self._jobs or self._running
        if busy and expected > RESERVE * self.config.budget_ms / 1e3:
            self.refused += 1
            raise OverloadedError(max(1, math.ceil(expected)))

    async def submit(self, work: Any, arrived: float) -> Any:
        """The answer. `arrived` is the monotonic moment from which its budget counts."""
        self.check()
        job = _Job(work, arrived + self.config.budget_ms / 1e3, time.monotonic())
        with self._changed:
            if self._closed:
                raise OverloadedError(1)
            self._jobs.append(job)
            self._changed.notify()
        return await asyncio.wrap_future(job.answer)

    def close(self) -> None:
        """Finish what was accepted, then stop."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _expected(self) -> float:
        """Seconds until a job that came now would be answered, if runs take what they did."""
        runs = (len(self._jobs) + 1) / self.config.jobs + (self._running > 0)
        return math.ceil(runs) * self._usual

    def _work(self) -> None:
        while jobs := self._take():
            alive = [job for job in jobs if not self._hopeless(job)]
            answers = self._answers(alive) if alive else []
            self._running = 0
            for job, answer in zip(alive, answers, strict=True):
                self._tell(job, answer)

    def _answers(self, jobs: list[_Job]) -> Sequence[Any]:
        start = time.monotonic()
        try:
            return self.run([job.work for job in jobs])
        except BaseException as error:  # noqa: BLE001, whoever waits must hear of it
            return [error] * len(jobs)
        finally:
            self._took.append(time.monotonic() - start)
            self._usual = float(np.percentile(self._took, CAUTION))

    def _take(self) -> list[_Job]:
        """The next jobs to run together; none at all: closed, and nothing waits."""
        with self._changed:
            while not self._jobs and not self._closed:
                self._changed.wait()
            if self._jobs and not self._closed:
                company = self._jobs[0].since + self.config.wait_ms / 1e3
                self._changed.wait_for(
                    lambda: len(self._jobs) >= self.config.jobs or self._closed,
                    timeout=max(0.0, company - time.monotonic()),
                )
            count = min(self.config.jobs, len(self._jobs))
            self._running = count
            return [self._jobs.popleft() for _ in range(count)]

    def _hopeless(self, job: _Job) -> bool:
        """Too late even if it began now: said at once, and no time spent on it."""
        if time.monotonic() < job.due or self._closed:
            return False
        self.refused += 1
        self._tell(job, OverloadedError(max(1, math.ceil(self._expected()))))
        return True

    def _tell(self, job: _Job, answer: Any) -> None:
        if not job.answer.set_running_or_notify_cancel():
            return  # whoever asked has gone
        if isinstance(answer, BaseException):
            job.answer.set_exception(answer)
            return
        self.late += time.monotonic() > job.due
        job.answer.set_result(answer)
