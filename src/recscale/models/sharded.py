"""Tables spread over processes by TorchRec: who holds which rows, and their optimiser."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.optim.apply_optimizer_in_backward import (
    _apply_optimizer_in_backward as apply_in_backward,  # pyright: ignore[reportPrivateUsage]
)

from recscale.models import installed
from recscale.models.embedding import ADAGRAD_EPS, Journal, Tables

installed.require()

from torchrec.distributed import DistributedModelParallel  # noqa: E402
from torchrec.distributed.embedding import EmbeddingCollectionSharder  # noqa: E402
from torchrec.distributed.planner import (  # noqa: E402
    EmbeddingShardingPlanner,
    ParameterConstraints,
    Topology,
)
from torchrec.optim import RowWiseAdagrad  # noqa: E402

logging.getLogger("torchrec").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class Sharded:
    """A model whose tables were replaced, in place, by their shards."""

    parallel: DistributedModelParallel
    tables: tuple[Tables, ...]  # each with a journal
    names: frozenset[str]  # of the sharded weights

    def state(self) -> dict[str, Any]:
        """What torch.distributed.checkpoint saves and loads: the shards of this process."""
        fused = self.parallel.fused_optimizer.state_dict()["state"]
        return {"model": self.parallel.state_dict(), "tables": fused}

    def load(self, state: dict[str, Any]) -> None:
        """Take over a state that was loaded into `state()`."""
        self.parallel.load_state_dict(state["model"])
        self.parallel.fused_optimizer.load_state_dict({"state": state["tables"]})

    def update(self, rate: float) -> None:
        """One step of the tables, after the backward pass. Every process calls it."""
        groups: Any = self.parallel.fused_optimizer.param_groups
        for group in groups:
            group["lr"] = rate
        self.parallel.fused_optimizer.step()  # hands the rate on
        for found in self.tables:
            assert found.journal is not None
            found.journal.update(found)


def shard(model: nn.Module, rate: float, device: torch.device) -> Sharded:
    """Replace each of `Tables` in `model` by shards with the same weights. Every process calls it.

    Whole tables or ranges of rows: the planner decides by size. List features keep their tables on
    every process, because gloo cannot reduce and scatter rows of bags.
    """
    tables = {name: found for name, found in model.named_modules() if isinstance(found, Tables)}
    whole = {
        f"{path}.{name}": weight.detach().clone()
        for path, found in tables.items()
        for name, weight in found.named_parameters()
    }
    for found in tables.values():
        apply_in_backward(RowWiseAdagrad, found.parameters(), {"lr": rate, "eps": ADAGRAD_EPS})
    sharders: list[Any] = [EmbeddingCollectionSharder()]
    planner = EmbeddingShardingPlanner(
        topology=Topology(
            world_size=dist.get_world_size(),
            compute_device=device.type,
            local_world_size=int(os.environ.get("LOCAL_WORLD_SIZE", dist.get_world_size())),
        ),
        constraints={
            name: ParameterConstraints(
                sharding_types=["row_wise", "table_wise"], compute_kernels=["fused"]
            )
            for found in tables.values()
            for name in found.sizes
        },
    )
    plan = planner.collective_plan(model, sharders, dist.GroupMember.WORLD)
    parallel = DistributedModelParallel(
        model, device=device, plan=plan, sharders=sharders, init_data_parallel=False
    )
    _fill(parallel.state_dict(), whole)
    for found in tables.values():
        found.journal = Journal()
    return Sharded(parallel, tuple(tables.values()), frozenset(whole))


def _fill(state: Mapping[str, Any], whole: Mapping[str, Tensor]) -> None:
    """Copy each shard's rows out of the whole table."""
    with torch.no_grad():
        for name, table in whole.items():
            for part in state[name].local_shards():
                row, column = part.metadata.shard_offsets
                rows, columns = part.metadata.shard_sizes
                part.tensor.copy_(table[row : row + rows, column : column + columns])
