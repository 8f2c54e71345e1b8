"""A bounded memory: what was used longest ago leaves first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """A value that knows what it takes."""

    @property
    def nbytes(self) -> int:
        """Bytes."""
        ...


V = TypeVar("V", bound=Sized)
OVERHEAD = 2048  # bytes of Python objects around the tensors of one entry, about


class LeastRecentlyUsed(Generic[V]):
    """Key -> value within `budget` bytes. A value larger than all of it is not kept."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.nbytes = 0
        self.evicted = 0
        self._entries: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._entries

    def get(self, key: Hashable) -> V | None:
        """The value, from now on the one used last."""
        if key not in self._entries:
            return None
        self._entries.move_to_end(key)
        return self._entries[key][0]

    def put(self, key: Hashable, value: V) -> list[Hashable]:
        """Keep `value`; the keys that had to leave for it."""
        self.drop(key)
        size = value.nbytes + OVERHEAD
        self._entries[key] = (value, size)
        self.nbytes += size
        gone: list[Hashable] = []
        while self.nbytes > self.budget and self._entries:
            gone.append(oldest := next(iter(self._entries)))
            self.drop(oldest)
        self.evicted += len(gone)
        return gone

    def drop(self, key: Hashable) -> None:
        """Forget a key, where it is known."""
        if key in self._entries:
            self.nbytes -= self._entries.pop(key)[1]
