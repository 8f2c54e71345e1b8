"""The only place where end-to-end events become a padded rectangle, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Layout:
    """Where jagged values lie in a rectangle [rows, length], each row filled from the left."""

    rows: int
    length: int  # the longest row, and at least 1: no operation meets an empty rectangle
    index: Tensor  # [T] cell of each value, counted along the rows


def layout(offsets: Tensor) -> Layout:
    """The smallest rectangle that holds the rows: offsets [B + 1]."""
    lengths = offsets.diff()
    length = max(1, int(lengths.max())) if len(lengths) else 1
    row = owner(offsets)
    place = torch.arange(len(row), device=offsets.device) - offsets[row]
    return Layout(len(lengths), length, row * length + place)


def owner(offsets: Tensor) -> Tensor:
    """[B + 1] -> [T], the row that each value belongs to."""
    return torch.repeat_interleave(offsets.diff())


def pad(values: Tensor, where: Layout) -> Tensor:
    """[T, ...] -> [B, L, ...], zeros after the last value of each row."""
    cells = where.rows * where.length
    if len(values) < cells:
        empty = values.new_zeros(cells, *values.shape[1:])
        values = empty.index_copy(0, where.index, values)
    return values.unflatten(0, (where.rows, where.length))


def unpad(padded: Tensor, where: Layout) -> Tensor:
    """[B, L, ...] -> [T, ...], the inverse of `pad`."""
    cells = padded.flatten(0, 1)
    return cells.index_select(0, where.index) if len(where.index) < len(cells) else cells


@dataclass(frozen=True, slots=True)
class Group:
    """Neighbours of like length among the sorted rows, and their own small rectangle."""

    events: slice  # of the sorted events
    where: Layout


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows sorted by length and cut: attention over a group pads little and fits a cache."""

    order: Tensor  # [T] place in the batch of each sorted event
    back: Tensor  # [T] place among the sorted events of each event of the batch
    groups: tuple[Group, ...]


def group(offsets: Tensor, most_rows: Callable[[int], int]) -> Groups:
    """Longest rows first; no more than `most_rows(longest)` of them together: offsets [B + 1]."""
    lengths, rows = offsets.diff().sort(descending=True, stable=True)
    ends = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    owner = torch.repeat_interleave(lengths)
    place = torch.arange(len(owner), device=offsets.device) - ends[owner]
    order = offsets[rows][owner] + place
    back = torch.empty_like(order).index_copy_(
        0, order, torch.arange(len(order), device=order.device)
    )
    sizes, begins = lengths.tolist(), ends.tolist()
    found: list[Group] = []
    first = 0
    while first < len(sizes) and sizes[first] > 0:
        last = min(len(sizes), first + max(1, most_rows(sizes[first])))
        events = slice(begins[first], begins[last])
        cells = (owner[events] - first) * sizes[first] + place[events]
        found.append(Group(events, Layout(last - first, sizes[first], cells)))
        first = last
    return Groups(order, back, tuple(found))


def newest(values: Tensor, start: Tensor, offsets: Tensor, row: Tensor, prefix: Tensor) -> Tensor:
    """[T, ...] -> [N, ...], the newest event that each candidate sees; `start` if it sees none.

    start [...], row and prefix [N]: candidate n sees the first prefix[n] events of row[n].
    """
    place = torch.where(prefix > 0, offsets[row] + prefix, 0)
    return torch.cat([start[None], values]).index_select(0, place)


def running_mean(values: Tensor, offsets: Tensor) -> Tensor:
    """[T, ...] -> [T, ...], at each event the mean of its row up to and including it."""
    where = layout(offsets)
    # Summed row by row: one sum over the whole batch would carry its neighbours' rounding.
    total = unpad(pad(values, where).cumsum(1), where)
    count = where.index % where.length + 1
    return total / count.view(-1, *(1 for _ in values.shape[1:]))


def tiles(offsets: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Cut long rows: [B + 1] -> the row each tile comes from [R], tile offsets [R + 1].

    No tile is longer than `size`, so that a rectangle of tiles wastes little on uneven rows.
    """
    counts = (offsets.diff() + size - 1) // size
    row = torch.repeat_interleave(counts)
    first = counts.cumsum(0) - counts
    starts = offsets[row] + size * (torch.arange(len(row), device=row.device) - first[row])
    return row, torch.cat([starts, offsets[-1:]])
