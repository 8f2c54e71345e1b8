"""The values that flow between layers.

Shape letters, the same in every file:
    B rows of a batch (one user each)    T history events of the batch, end to end
    N candidates of the batch            L longest history in the batch
    D model width    H attention heads   K forgetting components    V item ids
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

PADDING, UNSEEN = 0, 1  # reserved ids of every vocabulary; real values start at 2
Part = Literal["train", "valid", "test"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One column a model may read."""

    name: str
    # multi: a list of ids, item features only; vector: numbers that another model worked out
    kind: Literal["categorical", "numeric", "multi", "vector"]
    size: int  # ids, PADDING and UNSEEN included; 1 for a numeric feature; numbers of a vector


@dataclass(frozen=True, slots=True)
class Schema:
    """What the feature pipeline learned from the training part of a log."""

    item: tuple[Feature, ...]  # the id, named "item", comes first
    user: tuple[Feature, ...]
    context: tuple[Feature, ...]  # known when a request is made: on history and candidates
    event: tuple[Feature, ...]  # known only once the event has happened: on history alone
    labels: tuple[str, ...]  # the first is the one that is ranked by
    exposures: bool  # True: labels hold real zeros. False: all events are positive
    history: int  # most history events that any candidate sees

    @property
    def num_items(self) -> int:
        """Ids in the item vocabulary, PADDING and UNSEEN included: V."""
        return self.item[0].size

    @property
    def label(self) -> str:
        """The label that is ranked by."""
        return self.labels[0]


@dataclass(frozen=True, slots=True)
class Lists:
    """A list of ids for each of R rows: row r owns values[offsets[r]:offsets[r + 1]]."""

    values: Tensor  # [sum of lengths]
    offsets: Tensor  # [R + 1]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What is known of every item, by item id; rows PADDING and UNSEEN are empty."""

    single: Mapping[str, Tensor]  # name -> [V] int64 ids, float32 numbers, or vectors [V, size]
    multi: Mapping[str, Lists]  # name -> ids of each of the V items
    popularity: Tensor  # [V] positive events in the training part, int64


@dataclass(frozen=True, slots=True)
class History:
    """Past events of B users, oldest first, laid end to end without padding."""

    features: Mapping[str, Tensor]  # "item", context and event features: name -> [T]
    time: Tensor  # [T] int64 milliseconds since 1970; subtract before any cast
    offsets: Tensor  # [B + 1]; row b owns offsets[b]:offsets[b + 1]

    @property
    def lengths(self) -> Tensor:
        """Events of each row: [B]."""
        return self.offsets.diff()


@dataclass(frozen=True, slots=True)
class Candidates:
    """Items to score, laid end to end like the history they are scored against."""

    features: Mapping[str, Tensor]  # "item" and context features: name -> [N], vectors [N, size]
    time: Tensor  # [N] int64 milliseconds: the clock of each request
    prefix: Tensor  # [N] how many of its row's history events this candidate may see
    labels: Mapping[str, Tensor]  # name -> [N] float32, 1.0 where the user acted
    offsets: Tensor  # [B + 1]


@dataclass(frozen=True, slots=True)
class Batch:
    """B rows: who, what they did before, what to score."""

    user: Mapping[str, Tensor]  # name -> [B]
    history: History
    candidates: Candidates

    def to(self, device: torch.device | str) -> Batch:
        """A copy on `device`. Lightning calls this; it refuses a frozen dataclass without it."""
        past, ahead = self.history, self.candidates
        return Batch(
            user=_move(self.user, device),
            history=History(
                _move(past.features, device), past.time.to(device), past.offsets.to(device)
            ),
            candidates=Candidates(
                _move(ahead.features, device),
                ahead.time.to(device),
                ahead.prefix.to(device),
                _move(ahead.labels, device),
                ahead.offsets.to(device),
            ),
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """What a model costs, counted from its shapes, not measured."""

    dense_params: int
    embedding_params: int
    flops_per_request: int  # forward, one history and its candidates; a multiply-add is two


@runtime_checkable
class Ranker(Protocol):
    """All that training, evaluation, serving and scaling know about a model."""

    def loss(self, batch: Batch) -> Tensor:
        """Scalar training loss: []."""
        ...

    def score(self, batch: Batch) -> Tensor:
        """[N], higher is better; a logit of the first label where the schema has exposures."""
        ...

    def cost(self, history: int, candidates: int) -> Cost:
        """Cost of one request with `history` past events and `candidates` items to score."""
        ...


@runtime_checkable
class Retriever(Ranker, Protocol):
    """A ranker that ranks the whole catalogue by one matrix product."""

    def encode(self, batch: Batch) -> Tensor:
        """[N, D]: the user as seen by each candidate's request; its item is not read."""
        ...

    def item_vectors(self) -> Tensor:
        """[V, D]; encode(batch) @ item_vectors().T are logits of what the user acts on next.

        Equal to score where the schema has no exposures; elsewhere score answers another question.
        """
        ...


@runtime_checkable
class Lister(Ranker, Protocol):
    """A ranker with a way of its own through the whole catalogue, cheaper than scoring it all."""

    def score_all(self, batch: Batch) -> Tensor:
        """[N, V], every item for each candidate's request; its own item is not read.

        Like score where the schema has no exposures; elsewhere score answers another question.
        """
        ...


Record = dict[str, Any]  # one run, as written to record.json: see recscale.record


def _move(tensors: Mapping[str, Tensor], device: torch.device | str) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in tensors.items()}
