"""A ranker as Lightning trains it."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor, nn

from recscale.training.config import TrainingConfig
from recscale.types import Batch, Ranker

BETAS = (0.9, 0.98)  # as SASRec and HSTU are trained: Zhai et al. 2024, public configurations


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
        """AdamW at the pace that the settings ask for."""
        optimiser = torch.optim.AdamW(
            self.parameters(),
            lr=self.config.lr,
            betas=BETAS,
            weight_decay=self.config.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, self.config.pace)
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }
