"""A ranker as Lightning trains it."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor, nn

from recscale.models.embedding import split_weights
from recscale.training.config import TrainingConfig
from recscale.training.optimiser import BETAS, AdamAndRows
from recscale.types import Batch, Ranker


class Task(lightning.LightningModule):
    """The loss of one batch, and the optimiser."""

    def __init__(self, model: Ranker, config: TrainingConfig) -> None:
        super().__init__()
        assert isinstance(model, nn.Module)
        self.model = model
        self.config = config

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of one batch: []. Raises FloatingPointError when it is not a number."""
        assert isinstance(self.model, Ranker)
        loss = self.model.loss(batch)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"loss is {loss.item()} at step {self.global_step}: try a lower training.lr "
                f"than {self.config.lr}"
            )
        return loss

    def configure_optimizers(self) -> Any:
        """The optimiser at the pace that the settings ask for."""
        optimiser = self._optimiser()
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, self.config.pace)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _optimiser(self) -> torch.optim.Optimizer:
        """AdamW, and row-wise Adagrad where tables have a rate of their own."""
        config = self.config
        if config.table_lr is None:
            return torch.optim.AdamW(
                self.parameters(), lr=config.lr, betas=BETAS, weight_decay=config.weight_decay
            )
        dense, tables = split_weights(self.model)
        return AdamAndRows(dense, tables, config.lr, config.table_lr, config.weight_decay)
