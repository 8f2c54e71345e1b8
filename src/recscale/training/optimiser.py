"""AdamW for what every step moves, row-wise Adagrad for tables, of which a step moves few rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from recscale.models.embedding import ADAGRAD_EPS

BETAS = (0.9, 0.98)  # as SASRec and HSTU are trained: Zhai et al. 2024, public configurations


class AdamAndRows(torch.optim.AdamW):
    """Two groups of weights under one schedule: the dense ones, then the tables.

    A table's row i moves by -rate * g / (sqrt(s) + eps), where s gathers the mean square of the
    row's gradient g over all steps: one number a row, and rows without gradient stay. The same
    update is fused into the backward pass where tables are sharded.
    """

    def __init__(
        self,
        dense: Sequence[nn.Parameter],
        tables: Sequence[nn.Parameter],
        rate: float,
        table_rate: float,
        weight_decay: float,
    ) -> None:
        groups = [
            {"params": list(dense), "rows": False},
            {"params": list(tables), "lr": table_rate, "rows": True},
        ]
        super().__init__(groups, lr=rate, betas=BETAS, weight_decay=weight_decay)

    @property
    def table_rate(self) -> float:
        """What the schedule makes of the tables' learning rate now."""
        return self.param_groups[1]["lr"]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step of both. Tables have no gradient left when AdamW comes to them."""
        found = None
        if closure is not None:
            with torch.enable_grad():
                found = closure()
        for group in self.param_groups:
            for weight in group["params"] if group["rows"] else ():
                if weight.grad is not None:
                    self._move_rows(weight, weight.grad, group["lr"])
                    weight.grad = None
        super().step()
        return found

    def _move_rows(self, weight: Tensor, gradient: Tensor, rate: float) -> None:
        state = self.state[weight]
        if "rows" not in state:
            state["rows"] = weight.new_zeros(len(weight))
        state["rows"] += gradient.square().mean(dim=1)
        weight -= rate * gradient / (state["rows"].sqrt() + ADAGRAD_EPS)[:, None]
