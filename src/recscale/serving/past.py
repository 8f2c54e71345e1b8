"""The newest events of one user, as the engine holds them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from recscale.models.memory import chain, nbytes
from recscale.types import History


class OutOfOrderError(ValueError):
    """An event or a request that lies before what has happened already."""


@dataclass(frozen=True, slots=True)
class Past:
    """One row of events. `first` counts the user's events that lie before it and are gone."""

    events: History
    first: int = 0

    @property
    def total(self) -> int:
        """Events that there ever were."""
        return self.first + len(self.events.time)

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return nbytes(self.events)

    def append(self, events: History, window: int) -> Past:
        """More events behind these.

        Two windows are held, so that a request as old as the newest events, of which it sees none,
        still finds a whole one; and up to three, so that few appends copy.
        """
        clock = torch.cat([self.events.time[-1:], events.time])
        if (clock.diff() < 0).any():
            late = int((clock.diff() < 0).nonzero()[0])
            raise OutOfOrderError(
                f"time: {clock[late + 1]} lies before the last event, at {clock[late]}"
            )
        joined = Past(chain([self.events, events]), self.first)
        if len(joined.events.time) <= 3 * window:
            return joined
        return joined.since(joined.total - 2 * window)

    def since(self, place: int) -> Past:
        """The events from the `place`-th on, counted from the user's first one ever."""
        return Past(_cut(self.events, place - self.first, len(self.events.time)), place)

    def visible(self, time: int) -> int:
        """How many of all events happened strictly before `time`."""
        return self.first + int(torch.searchsorted(self.events.time, time))

    def range(self, start: int, stop: int) -> History:
        """The events from `start` to before `stop`, counted from the user's first one ever."""
        if start < self.first:
            raise OutOfOrderError(f"time: the request lies {self.total - stop} events in the past")
        return _cut(self.events, start - self.first, stop - self.first)


def _cut(events: History, start: int, stop: int) -> History:
    """Copied: a view would hold on to the memory of all events."""
    return History(
        {name: values[start:stop].clone() for name, values in events.features.items()},
        events.time[start:stop].clone(),
        torch.tensor([0, stop - start]),
    )
