"""A frozen model with a memory of its users: events go in, scores come out, equal to offline ones.

Of each user the newest events are held, and beside them what the model made of these (its state).
States are kept while there is room, longest unused leaving first, and are made again when needed. A
state takes new events one after the other until the user's events outnumber what the model reads.
What happens then is EngineConfig.window.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from recscale.configfile import Settings
from recscale.models import memory
from recscale.models.frozen import freeze
from recscale.models.generative.stored import Precision
from recscale.serving.lru import LeastRecentlyUsed
from recscale.serving.past import Past
from recscale.serving.spans import Spans
from recscale.types import UNSEEN, Batch, Candidates, History, Ranker, Schema

MIB = 2**20


class EngineConfig(Settings):
    """How much memory a server's users get, and how many candidates are scored at once.

    window: `newest` reads the newest `history` events, as evaluation does. The first of them
    changes with every event of a user who has more, and the state is then made anew. `half` drops
    half a window at a time, as training does: a state lasts history / 2 events and reads as many.
    """

    window: Literal["newest", "half"] = "newest"

    states_mib: float = Field(default=512, ge=0)  # what models made of events; can be made again
    precision: Precision = "float32"  # of keys and values; anything less is no longer exact
    events_mib: float = Field(default=256, gt=0)  # events themselves; see Engine.append
    micro_batch: int = Field(default=4096, ge=1)


@dataclass(frozen=True, slots=True)
class Request:
    """One user at one moment, and C items to score."""

    user: Hashable
    time: int  # milliseconds since 1970
    items: Tensor  # [C] ids
    context: Mapping[str, Tensor]  # name -> [1]
    features: Mapping[str, Tensor]  # of the user: name -> [1]


@dataclass(frozen=True, slots=True)
class _Kept:
    """A model's state after the events start:stop of a user."""

    state: memory.Memory
    start: int
    stop: int

    @property
    def nbytes(self) -> int:
        return self.state.nbytes


def nobody(user: Hashable) -> History | None:  # noqa: ARG001
    """Where no user has a past."""
    return None


class Engine:
    """Not for several threads at once. `known` gives the events of a user who is not held yet."""

    def __init__(
        self,
        model: Ranker,
        schema: Schema,
        config: EngineConfig,
        known: Callable[[Hashable], History | None] = nobody,
    ) -> None:
        assert isinstance(model, nn.Module)
        self.model = model
        freeze(model)
        self.keeper = memory.keeper(model, config.precision)
        self.schema = schema
        self.config = config
        self.spans = Spans()
        self.known = known
        self.pasts: LeastRecentlyUsed[Past] = LeastRecentlyUsed(int(config.events_mib * MIB))
        self.states: LeastRecentlyUsed[_Kept] = LeastRecentlyUsed(int(config.states_mib * MIB))

    def append(self, user: Hashable, events: History) -> None:
        """One row of events, oldest first, that happened since. Raises OutOfOrderError.

        When more users are held than `events_mib` has room for, the one unused longest falls back
        to what `known` tells: events appended since are forgotten, and `pasts.evicted` counts it.
        """
        if not len(events.time):
            return
        past = self._past(user).append(events, self.schema.history)
        for gone in self.pasts.put(user, past):
            self.states.drop(gone)
        # A state that can go on does so now, while nobody waits for a score.
        if (kept := self.states.get(user)) and self._begin(past.total) == kept.start:
            self.warm(user)

    @torch.inference_mode()
    def warm(self, user: Hashable) -> None:
        """Bring a user's state up to date."""
        past = self._past(user)
        with self.spans("encode"):
            self._state(user, past)

    @torch.inference_mode()
    def score(self, requests: Sequence[Request]) -> list[Tensor]:
        """[C] scores for each request."""
        with self.spans("encode"):
            asked = [(request, self._memory(request)) for request in requests]
        pieces = [
            (place, replace(request, items=items), kept)
            for place, (request, kept) in enumerate(asked)
            for items in request.items.split(self.config.micro_batch)
        ]
        found: list[list[Tensor]] = [[] for _ in requests]
        for group in _groups(pieces, self.config.micro_batch):
            with self.spans("features"):
                batch = self.batch([request for _, request, _ in group])
            with self.spans("score"):
                scores = self.keeper.score([kept for _, _, kept in group], batch)
            parts = scores.split([len(request.items) for _, request, _ in group])
            for (place, _, _), part in zip(group, parts, strict=True):
                found[place].append(part)
        return [torch.cat(parts) if parts else torch.zeros(0) for parts in found]

    def batch(self, requests: Sequence[Request]) -> Batch:
        """B rows without any history, ready for a keeper."""
        lengths = torch.tensor([len(request.items) for request in requests])
        rows = len(requests)
        clock = torch.tensor([request.time for request in requests])
        context = _columns([request.context for request in requests])
        return Batch(
            user=_columns([request.features for request in requests]),
            history=replace(self._nothing(), offsets=torch.zeros(rows + 1, dtype=torch.int64)),
            candidates=Candidates(
                features={
                    "item": torch.cat([request.items for request in requests]),
                    **{k: v.repeat_interleave(lengths) for k, v in context.items()},
                },
                time=clock.repeat_interleave(lengths),
                prefix=torch.zeros(int(lengths.sum()), dtype=torch.int64),
                labels={},
                offsets=torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]),
            ),
        )

    def queries(self, requests: Sequence[Request]) -> Tensor | None:
        """[B, D] to search the catalogue with; None where the model has no such form."""
        if not isinstance(self.keeper, memory.Searcher):
            return None
        one_each = [replace(request, items=torch.tensor([UNSEEN])) for request in requests]
        with torch.inference_mode():
            memories = [self._memory(request) for request in requests]
            return self.keeper.queries(memories, self.batch(one_each))

    def item_vectors(self) -> Tensor | None:
        """[V, D] to search among; None where the model has no such form."""
        if not isinstance(self.keeper, memory.Searcher):
            return None
        with torch.inference_mode():
            return self.keeper.item_vectors()

    def visible(self, request: Request) -> History:
        """The events that a request sees."""
        past = self._past(request.user)
        stop = past.visible(request.time)
        return past.range(self._begin(stop), stop)

    def _begin(self, stop: int) -> int:
        """The first event of the window that ends before event `stop`."""
        beyond = max(0, stop - self.schema.history)
        if self.config.window == "newest":
            return beyond
        stride = max(1, self.schema.history // 2)
        return stride * -(-beyond // stride)

    def _memory(self, request: Request) -> memory.Memory | None:
        """The state that a request sees. Nothing at the request's own instant is history."""
        past = self._past(request.user)
        stop = past.visible(request.time)
        if stop == past.total:
            return self._state(request.user, past)
        seen = past.range(self._begin(stop), stop)
        return self.keeper.extend(None, seen) if len(seen.time) else None

    def _state(self, user: Hashable, past: Past) -> memory.Memory | None:
        """The state after all events: kept, gone on with, or made anew."""
        if not past.total:
            return None
        kept = self.states.get(user)
        if kept is not None and kept.stop == past.total:
            return kept.state
        start = self._begin(past.total)
        if kept is not None and kept.start == start:
            state = self.keeper.extend(kept.state, past.since(kept.stop).events)
            kept = _Kept(state, kept.start, past.total)
        else:
            state = self.keeper.extend(None, past.range(start, past.total))
            kept = _Kept(state, start, past.total)
        self.states.put(user, kept)
        return kept.state

    def _past(self, user: Hashable) -> Past:
        past = self.pasts.get(user)
        if past is None:
            past = Past(self.known(user) or self._nothing())
            for gone in self.pasts.put(user, past):
                self.states.drop(gone)
        return past

    def _nothing(self) -> History:
        """No event, in one row, with the columns of the schema."""
        numeric = {
            f.name for f in (*self.schema.context, *self.schema.event) if f.kind == "numeric"
        }
        names = ["item", *(f.name for f in (*self.schema.context, *self.schema.event))]
        features = {
            name: torch.zeros(0, dtype=torch.float32 if name in numeric else torch.int64)
            for name in names
        }
        return History(
            features, torch.zeros(0, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
        )


_Piece = tuple[int, Request, Any]


def _groups(pieces: Sequence[_Piece], size: int) -> Iterator[list[_Piece]]:
    """Neighbours together, up to `size` candidates."""
    group: list[_Piece] = []
    count = 0
    for piece in pieces:
        if group and count + len(piece[1].items) > size:
            yield group
            group, count = [], 0
        group.append(piece)
        count += len(piece[1].items)
    if group:
        yield group


def _columns(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """name -> [1] of each row -> name -> [B]."""
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
