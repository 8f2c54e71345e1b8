"""Length and pace of a run."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from recscale.configfile import Settings

Metric = Literal[
    "hr@10", "hr@50", "hr@200", "ndcg@10", "ndcg@200", "mrr", "softmax_loss",
    "auc", "gauc", "logloss", "ne",
]  # fmt: skip
LOWER_IS_BETTER: frozenset[str] = frozenset({"softmax_loss", "logloss", "ne"})


class TrainingConfig(Settings):
    """AdamW, stopped early on a validation metric."""

    # valid: for a combiner's few weights, which members' training events would flatter
    part: Literal["train", "valid"] = "train"
    steps: int = Field(default=2000, gt=0)  # at most
    batch_size: int = Field(default=128, gt=0)  # rows: windows of users
    lr: float = Field(default=1e-3, gt=0)
    # of tables by row-wise Adagrad, as tables over several processes need; null: AdamW for all
    table_lr: float | None = Field(default=None, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    warmup_steps: int = Field(default=0, ge=0)  # linear
    schedule: Literal["constant", "linear", "cosine"] = "constant"  # after the warm-up, to 0 at end
    metric: Metric = "ndcg@10"  # on the validation part: early stopping and the best checkpoint
    validate_every: int = Field(default=200, gt=0)  # steps
    validation_requests: int | None = Field(default=500, gt=0)  # ranked in the catalogue; null: all
    patience: int = Field(default=5, gt=0)  # validations in a row that are no better
    users: float = Field(default=1.0, gt=0, le=1)  # share that trains; smaller ones lie in larger
    events: float = Field(default=1.0, gt=0, le=1)  # share of what they did: the newest trains
    checkpoint_every: int = Field(
        default=200, gt=0
    )  # steps between points that --resume goes on from

    def pace(self, step: int) -> float:
        """Share of `lr` at a step, counted from 0."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        done = max(0, step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        left = max(0.0, 1 - done)
        match self.schedule:
            case "constant":
                return warm
            case "linear":
                return min(warm, left)
            case "cosine":
                return min(warm, 0.5 - 0.5 * math.cos(math.pi * left))

    @property
    def share(self) -> tuple[float, float]:
        """Of users and of events: how much of the training part is used."""
        return self.users, self.events
