"""Several workers on one machine, a process each."""

from __future__ import annotations

import multiprocessing
import os
import sys

import torch

from recscale.scaling import worker
from recscale.scaling.ladder import Ladder
from recscale.scaling.worker import Site
from recscale.types import Record


def climb(ladder: Ladder, site: Site, jobs: int) -> list[Record]:
    """The records of all rungs. Raises ValueError where every worker failed."""
    if jobs > 1:
        spawn = multiprocessing.get_context("spawn")  # a forked torch deadlocks in OpenMP
        threads = max(1, (os.cpu_count() or 1) // jobs)
        crew = [spawn.Process(target=_work, args=(ladder, site, threads)) for _ in range(jobs)]
        for process in crew:
            process.start()
        for process in crew:
            process.join()
        if all(process.exitcode for process in crew):
            raise ValueError(f"{site.out}: every worker failed; what each said stands above")
    return worker.climb(ladder, site)


def _work(ladder: Ladder, site: Site, threads: int) -> None:
    """What a user can cause ends in one line, as in the process that started this one."""
    torch.set_num_threads(threads)
    try:
        worker.climb(ladder, site)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"recscale: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
