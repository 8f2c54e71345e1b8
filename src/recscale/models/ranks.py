"""The processes of a run: which one this is, and what has to be one number for all of them.

Outside a process group there is one process, and everything here is the plain thing.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def grouped() -> bool:
    """Whether this process trains together with others (or alone, but as one of a group)."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Which process this is, from 0."""
    return dist.get_rank() if grouped() else 0


def world() -> int:
    """How many processes there are."""
    return dist.get_world_size() if grouped() else 1


def mean_of(summed: Tensor, own: int) -> Tensor:
    """The sum [] of `own` values -> [], whose average over processes is the mean of all values.

    Gradients are averaged over processes as well, so that uneven shares train as one batch would.
    Of no values at all it is 0.
    """
    count = torch.tensor(float(own), device=summed.device)
    if grouped():
        dist.all_reduce(count)
    return summed * (world() / count.clamp(min=1))


def mean(values: Tensor) -> Tensor:
    """As `mean_of`, of values [R]."""
    return mean_of(values.sum(), len(values))


def total(number: float) -> float:
    """Summed over processes, exact for counts below 2^53."""
    return float(_reduced([number], dist.ReduceOp.SUM)[0])


def averages(numbers: list[float]) -> list[float]:
    """Each averaged over processes."""
    return [value / world() for value in _reduced(numbers, dist.ReduceOp.SUM)]


def of_first(number: float) -> float:
    """The first process's number, for decisions that all have to take alike."""
    return float(_reduced([number if rank() == 0 else 0.0], dist.ReduceOp.SUM)[0])


def any_of(asked: bool) -> bool:  # noqa: FBT001
    """Whether it is true in some process."""
    return _reduced([float(asked)], dist.ReduceOp.MAX)[0] > 0


def gather(own: Any) -> list[Any]:
    """One of each process, in their order."""
    if not grouped():
        return [own]
    found: list[Any] = [None] * world()
    dist.all_gather_object(found, own)
    return found


def average_gradients(parameters: list[Tensor]) -> None:
    """One reduction for all of them; one without a gradient counts as 0."""
    if world() == 1 or not parameters:
        return
    for weight in parameters:
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
    flat = torch.cat([weight.grad.flatten() for weight in parameters if weight.grad is not None])
    dist.all_reduce(flat)
    flat /= world()
    for weight, gradient in zip(
        parameters, flat.split([weight.numel() for weight in parameters]), strict=True
    ):
        weight.grad = gradient.view_as(weight)


def _reduced(numbers: list[float], how: Any) -> list[float]:
    if not grouped():
        return numbers
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    found = torch.tensor(numbers, dtype=torch.float64, device=device)
    dist.all_reduce(found, op=how)
    return found.tolist()
