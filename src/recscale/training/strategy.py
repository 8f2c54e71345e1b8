"""How Lightning trains a model whose tables are spread over processes."""

# Lightning calls hooks by position; those here name only what they read.
# pyright: reportIncompatibleMethodOverride=false

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor

from recscale.models import ranks
from recscale.models.embedding import split_weights
from recscale.models.sharded import Sharded
from recscale.training import shards
from recscale.training.optimiser import AdamAndRows


class ShardedStrategy(DDPStrategy):
    """Tables in shards with an optimiser of their own, all other weights in copies.

    Nothing is wrapped: the same training step runs as in one process. Gradients of the copies are
    averaged in one reduction after the backward pass.
    """

    def __init__(self, sharded: Sharded) -> None:
        super().__init__(process_group_backend="nccl" if torch.cuda.is_available() else "gloo")
        self.sharded = sharded
        self.resumed: Path | None = None

    def configure_ddp(self) -> None:
        """No wrapper: see above."""

    def pre_backward(self, _: Tensor) -> None:
        """No reducer to make ready."""

    def post_backward(self, _: Tensor) -> None:
        """Move the shards; average the gradients of what every process has a copy of."""
        (optimiser,) = self.optimizers
        assert isinstance(optimiser, AdamAndRows)
        self.sharded.update(optimiser.table_rate)
        assert self.lightning_module is not None
        dense, tables = split_weights(self.lightning_module)
        ranks.average_gradients([*dense, *tables])

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Weights go with the shards."""
        return {}

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: Any, *_: Any, **__: Any
    ) -> None:
        """A folder with every process's shards, and the first one's account of all else."""
        shards.save(self.sharded.state(), Path(filepath))
        if self.is_global_zero:
            torch.save(checkpoint, Path(filepath) / shards.REST)
        self.barrier()

    def load_checkpoint(self, checkpoint_path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        """All but the shards; Lightning asks for those next."""
        self.resumed = Path(checkpoint_path)
        return torch.load(self.resumed / shards.REST, weights_only=True)

    def load_model_state_dict(self, *_: Mapping[str, Any], **__: Any) -> None:
        """The shards, whoever saved which."""
        assert self.resumed is not None
        state = self.sharded.state()
        shards.load(state, self.resumed)
        self.sharded.load(state)
