"""Where the time of a request goes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager
from time import perf_counter


class Spans:
    """Seconds by stage since they were last taken."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Generator[None]:
        """Time a block; stages must not be nested."""
        start = perf_counter()
        try:
            yield
        finally:
            self._seconds[stage] += perf_counter() - start

    def take(self) -> dict[str, float]:
        """What there is, and start anew."""
        taken, self._seconds = dict(self._seconds), defaultdict(float)
        return taken
