"""Processes that torchrun started: how they find each other and take turns."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Never, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from recscale.models import ranks

Made = TypeVar("Made")


def launched() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def first() -> bool:
    """Whether this process speaks for all: it prepares, evaluates and writes the record."""
    return int(os.environ.get("RANK", "0")) == 0 if launched() else True


def restarted() -> bool:
    """Whether torchrun started this process again after a fault."""
    return launched() and int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


@contextmanager
def joined() -> Generator[None]:
    """The process group of a launched process; nothing for a process of its own."""
    if not launched():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    store, rank, world = meeting_place()
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world)
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise _lost() from error
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # after a fault its line comes first
        dist.destroy_process_group()
    signal.signal(signal.SIGTERM, before)


def meeting_place() -> tuple[Store, int, int]:
    """Where the processes leave their addresses for each other, which one this is, of how many.

    torchrun on one machine keeps its store when it starts them again, with the addresses of those
    that are gone: whoever reads one waits for ever. So each start has keys of its own. Of several
    machines each counts its own starts; there TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 does it.
    """
    store, rank, world = next(rendezvous("env://"))
    if os.environ.get("GROUP_WORLD_SIZE", "1") != "1":
        return store, rank, world
    start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return PrefixStore(f"start-{start}", store), rank, world


def end(*_: Any) -> Never:
    """On SIGTERM, by which torchrun ends a process that has not yet noticed that it lost another.

    Raises ConnectionError: either way it is the same fault, and told once.
    """
    raise _lost()


def _lost() -> ConnectionError:
    return ConnectionError(
        f"process {os.environ['RANK']}: another process of this run was lost, or the job was told "
        "to end; torchrun --max-restarts N, or --resume, goes on from the last checkpoint"
    )


def first_then_all(step: Callable[[], Made]) -> Made:
    """The first process takes the step alone, the others after it: they find its work done."""
    made = step() if first() else None
    ranks.gather(None)
    return step() if made is None else made
