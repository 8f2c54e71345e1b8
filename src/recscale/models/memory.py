"""What a model may keep of a user's past between requests, and how it goes on from there.

A model gets a fast form by its structure; one without is read anew each time, so that served
scores are offline scores for every model there will be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from recscale.models import jagged
from recscale.models.forgetting import Forgetting
from recscale.models.generative.incremental import Extend, Kept, extension
from recscale.models.generative.linear import LinearKept
from recscale.models.generative.retriever import Generative
from recscale.models.generative.stored import Precision
from recscale.types import Batch, Candidates, History, Ranker

CHUNK = 128  # events of one user that pass an encoder at once


@runtime_checkable
class Eventwise(Protocol):
    """A ranker that turns each event into a vector of its own before anything else."""

    def events(self, history: History) -> Tensor:
        """[T, D], each from one event alone."""
        ...

    def answer(self, events: Tensor, batch: Batch) -> Tensor:
        """events [T, D] -> [N] scores; of the history only clocks and items are read."""
        ...


class Memory(Protocol):
    """What is kept of one user."""

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        ...


class Keeper(Protocol):
    """Makes, extends and reads memories. A user without any event has None."""

    def extend(self, memory: Any, events: History) -> Memory:
        """`events` of one row happened, after those that `memory` knows."""
        ...

    def score(self, memories: Sequence[Any], batch: Batch) -> Tensor:
        """[N]. A row's candidates share clock and context; `batch` has no history of its own."""
        ...


@runtime_checkable
class Searcher(Protocol):
    """A keeper whose model ranks the whole catalogue by one product."""

    def queries(self, memories: Sequence[Any], batch: Batch) -> Tensor:
        """[B, D], one for each row, of its first candidate's request."""
        ...

    def item_vectors(self) -> Tensor:
        """[V, D]."""
        ...


def keeper(model: Ranker, precision: Precision = "float32") -> Keeper:
    """The fastest keeper that the structure of `model` allows; exact in float32.

    Fewer bits are for keys and values alone.
    """
    if not all(part.by_clock for part in _forgetting(model)):
        return ReadAnew(model)  # what is kept of an event is its vector and its clock
    if isinstance(model, Generative):
        extend = extension(model.encoder, precision)
        return ReadAnew(model) if extend is None else KeepStates(model, extend)
    return KeepEvents(model) if isinstance(model, Eventwise) else ReadAnew(model)


@dataclass(frozen=True, slots=True)
class State:
    """Where a user's events led an encoder."""

    newest: Tensor  # [1, D]
    kept: Kept | LinearKept

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.newest.nbytes + self.kept.nbytes


class KeepStates:
    """Keys and values of every event, to go on with; the newest state, to score with."""

    def __init__(self, model: Generative, extend: Extend) -> None:
        self.model = model
        self._extend = extend

    def extend(self, memory: State | None, events: History) -> State:
        """Only the new events pass the encoder, so many at a time that their pairs fit a cache."""
        state = memory
        parts = self.model.events(events).split(CHUNK), events.time.split(CHUNK)
        for x, time in zip(*parts, strict=True):
            states, kept = self._extend(x, time, None if state is None else state.kept)
            state = State(states[-1:].clone(), kept)
        assert state is not None, "no memory and no events"
        return state

    def score(self, memories: Sequence[State | None], batch: Batch) -> Tensor:
        """The request is encoded once a row, not once a candidate."""
        queries = self.queries(memories, batch)
        row = jagged.owner(batch.candidates.offsets)
        return self.model.rate(queries.index_select(0, row), batch.candidates.features["item"])

    def queries(self, memories: Sequence[State | None], batch: Batch) -> Tensor:
        """[B, D], of length 1."""
        states = [memory.newest for memory in memories if memory is not None]
        clocks = [memory.kept.time[-1:] for memory in memories if memory is not None]
        lengths = [int(memory is not None) for memory in memories]
        one_each = replace(batch, candidates=_first(batch.candidates))
        none = self.model.start.new_zeros(0, len(self.model.start))
        return self.model.ask(torch.cat([none, *states]), _after(one_each, clocks, lengths))

    def item_vectors(self) -> Tensor:
        """[V, D]; queries @ item_vectors().T are logits."""
        return self.model.item_vectors()


@dataclass(frozen=True, slots=True)
class Vectors:
    """L events of a user, each a vector."""

    vectors: Tensor  # [L, D]
    item: Tensor  # [L]
    time: Tensor  # [L]

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.vectors.nbytes + self.item.nbytes + self.time.nbytes


class KeepEvents:
    """The vectors of events: all that a click model can know before it sees the candidates."""

    def __init__(self, model: Eventwise) -> None:
        self.model = model

    def extend(self, memory: Vectors | None, events: History) -> Vectors:
        """The new events' vectors behind the old ones."""
        new = Vectors(self.model.events(events), events.features["item"], events.time)
        if memory is None:
            return new
        return Vectors(
            torch.cat([memory.vectors, new.vectors]),
            torch.cat([memory.item, new.item]),
            torch.cat([memory.time, new.time]),
        )

    def score(self, memories: Sequence[Vectors | None], batch: Batch) -> Tensor:
        """[N]."""
        known = [memory for memory in memories if memory is not None]
        lengths = [0 if memory is None else len(memory.time) for memory in memories]
        vectors = [memory.vectors for memory in known] or [self.model.events(batch.history)]
        items = torch.cat([batch.history.features["item"], *(memory.item for memory in known)])
        seeing = _after(batch, [memory.time for memory in known], lengths, {"item": items})
        return self.model.answer(torch.cat(vectors), seeing)


@dataclass(frozen=True, slots=True)
class Events:
    """A user's events as they are."""

    history: History  # of one row

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return nbytes(self.history)


class ReadAnew:
    """Keeps the events and reads them all at each request: exact for any ranker."""

    def __init__(self, model: Ranker) -> None:
        self.model = model

    def extend(self, memory: Events | None, events: History) -> Events:
        """The new events behind the old ones."""
        return Events(events if memory is None else chain([memory.history, events]))

    def score(self, memories: Sequence[Events | None], batch: Batch) -> Tensor:
        """[N]."""
        lengths = [0 if memory is None else len(memory.history.time) for memory in memories]
        known = [memory.history for memory in memories if memory is not None]
        past = chain([batch.history, *known])
        return self.model.score(_seeing(batch, replace(past, offsets=_offsets(lengths, past))))


def _forgetting(model: Ranker) -> list[Forgetting]:
    assert isinstance(model, nn.Module)
    return [part for part in model.modules() if isinstance(part, Forgetting)]


def nbytes(history: History) -> int:
    """Memory that a history takes."""
    columns = (history.time, history.offsets, *history.features.values())
    return sum(column.nbytes for column in columns)


def chain(histories: Sequence[History]) -> History:
    """The events of all histories, as one row."""
    time = torch.cat([history.time for history in histories])
    features = {
        name: torch.cat([history.features[name] for history in histories])
        for name in histories[0].features
    }
    return History(features, time, _offsets([len(time)], histories[0]))


def _after(
    batch: Batch,
    clocks: Sequence[Tensor],
    lengths: Sequence[int],
    features: Mapping[str, Tensor] = MappingProxyType({}),
) -> Batch:
    """`batch` behind events of which the clocks are left, and the `features` given."""
    past = batch.history
    time = torch.cat([past.time, *clocks])
    return _seeing(batch, History(features, time, _offsets(lengths, past)))


def _seeing(batch: Batch, history: History) -> Batch:
    """`batch` behind `history`, every candidate seeing all of its row."""
    ahead = batch.candidates
    prefix = history.lengths[jagged.owner(ahead.offsets)]
    return Batch(batch.user, history, replace(ahead, prefix=prefix))


def _offsets(lengths: Sequence[int], like: History) -> Tensor:
    """[B] -> [B + 1]."""
    ends = torch.tensor([0, *lengths], dtype=torch.int64, device=like.time.device)
    return ends.cumsum(0)


def _first(ahead: Candidates) -> Candidates:
    """The first candidate of each row; every row has one."""
    first = ahead.offsets[:-1]
    features = {name: values[first] for name, values in ahead.features.items()}
    ones = torch.arange(len(first) + 1, device=first.device)
    return Candidates(features, ahead.time[first], ahead.prefix[first], {}, ones)
