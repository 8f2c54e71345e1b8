"""Scoring every item of the catalogue for every request: exact, in bounded memory.

A request is a row's history, a clock and a context. Several held-out events may share one; it is
scored once. G requests, V item ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from recscale.types import Batch, Candidates, History, Lister, Ranker, Retriever

PAIRS = 2**19  # candidate-history pairs at once: 256 MB in a model that holds 128 floats a pair
SCORES = 2**24  # scores at once: 64 MB
LISTS = 16  # requests at once for a model that makes its lists itself
FIRST_ITEM = 2  # PADDING and UNSEEN are no items


@dataclass(frozen=True, slots=True)
class Requests:
    """The distinct requests behind some candidates of a batch."""

    first: Tensor  # [G] one candidate of each request
    of: Tensor  # [n] the request of each chosen candidate


def distinct(batch: Batch, chosen: Tensor) -> Requests:
    """chosen [n] candidates -> their requests: equal row, prefix, clock and context."""
    candidates = batch.candidates
    context = [value for name, value in candidates.features.items() if name != "item"]
    # Numbers are compared by their bits, so that one integer table holds every column.
    columns = [_bits(v) for v in [rows(batch), candidates.prefix, candidates.time, *context]]
    _, of = torch.stack(columns, dim=1)[chosen].unique(dim=0, return_inverse=True)
    first = chosen.new_zeros(int(of.max()) + 1).scatter(0, of, chosen)
    return Requests(first, of)


def rows(batch: Batch) -> Tensor:
    """[N], the row of each candidate."""
    lengths = batch.candidates.offsets.diff()
    return torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)


def seen(batch: Batch, first: Tensor, num_items: int) -> Tensor:
    """[G] candidates -> [G, V] bool, the items in the history that each request may see."""
    requests = one_candidate_each(batch, first)
    history = requests.history
    row = torch.repeat_interleave(
        torch.arange(len(first), device=first.device), history.lengths
    )  # [T]
    place = torch.arange(len(row), device=row.device) - history.offsets[row]
    visible = place < requests.candidates.prefix[row]
    table = torch.zeros(len(first), num_items, dtype=torch.bool, device=row.device)
    table[row[visible], history.features["item"][visible]] = True
    table[:, :FIRST_ITEM] = False
    return table


def scores(
    model: Ranker, batch: Batch, first: Tensor, num_items: int
) -> Iterator[tuple[slice, Tensor]]:
    """[G] candidates -> slices of G with scores [g, V]; the first two columns mean nothing."""
    if isinstance(model, Lister):
        for part in _slices(len(first), min(LISTS, SCORES // num_items)):
            yield part, model.score_all(one_candidate_each(batch, first[part]))
        return
    if not isinstance(model, Retriever):
        yield from _expanded(model, batch, first, num_items)
        return
    # As many rows at once as the caller's batch has: what fitted there fits here.
    users = torch.cat(
        [
            model.encode(one_candidate_each(batch, first[part]))
            for part in _slices(len(first), len(batch.history.lengths))
        ]
    )  # [G, D]
    items = model.item_vectors()
    for part in _slices(len(first), SCORES // num_items):
        yield part, users[part] @ items.T


def one_candidate_each(batch: Batch, first: Tensor) -> Batch:
    """[G] candidates -> a batch of G rows, each a copy of its history and one candidate."""
    row, ahead = rows(batch)[first], batch.candidates
    return Batch(
        user={name: value[row] for name, value in batch.user.items()},
        history=_select(batch.history, row),
        candidates=Candidates(
            features={name: value[first] for name, value in ahead.features.items()},
            time=ahead.time[first],
            prefix=ahead.prefix[first],
            labels={name: value[first] for name, value in ahead.labels.items()},
            offsets=torch.arange(len(first) + 1, device=first.device),
        ),
    )


def replace_candidates(requests: Batch, items: Tensor) -> Batch:
    """A batch of one candidate a row, items [C] -> the same requests with all C items to score."""
    ahead, size = requests.candidates, len(items)
    count = len(ahead.time)
    features = {name: value.repeat_interleave(size, 0) for name, value in ahead.features.items()}
    return Batch(
        user=requests.user,
        history=requests.history,
        candidates=Candidates(
            features={**features, "item": items.repeat(count)},
            time=ahead.time.repeat_interleave(size),
            prefix=ahead.prefix.repeat_interleave(size),
            labels={name: torch.zeros(count * size, device=items.device) for name in ahead.labels},
            offsets=torch.arange(count + 1, device=items.device) * size,
        ),
    )


def _expanded(
    model: Ranker, batch: Batch, first: Tensor, num_items: int
) -> Iterator[tuple[slice, Tensor]]:
    items = torch.arange(FIRST_ITEM, num_items, device=first.device)
    # A padded rectangle holds the longest history for every row.
    budget = max(1, PAIRS // (int(batch.history.lengths.max()) + 1))
    for part in _slices(len(first), budget // num_items):
        requests = one_candidate_each(batch, first[part])
        count = len(requests.candidates.time)
        table = torch.zeros(count, num_items, device=first.device)
        for columns in _slices(len(items), budget // count):
            scored = model.score(replace_candidates(requests, items[columns]))
            table[:, items[columns]] = scored.view(count, -1).to(table.dtype)
        yield part, table


def _select(history: History, row: Tensor) -> History:
    """row [G] -> the histories of those rows, end to end."""
    lengths = history.lengths[row]
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    shift = torch.repeat_interleave(history.offsets[:-1][row] - offsets[:-1], lengths)
    index = torch.arange(len(shift), device=row.device) + shift
    features = {name: value[index] for name, value in history.features.items()}
    return History(features, history.time[index], offsets)


def _slices(total: int, size: int) -> Iterator[slice]:
    step = max(1, size)
    return (slice(start, min(total, start + step)) for start in range(0, total, step))


def _bits(values: Tensor) -> Tensor:
    if values.is_floating_point():
        return values.to(torch.float64).view(torch.int64)
    return values.to(torch.int64)
