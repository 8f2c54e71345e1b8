"""Running a model without training it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import nn

from recscale.models import ranks
from recscale.types import Ranker


@contextmanager
def inference(model: Ranker) -> Generator[torch.device]:
    """Evaluation mode without gradients, on the model's device; every module's mode is restored."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [module.training for module in modules]
    if isinstance(model, nn.Module):
        model.eval()
    try:
        # Shards are looked up by an operator that has no inference mode.
        with torch.no_grad() if ranks.grouped() else torch.inference_mode():
            yield device_of(model)
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def device_of(model: Ranker) -> torch.device:
    """Where the model's weights are; the CPU for a model without any."""
    if isinstance(model, nn.Module):
        for tensor in [*model.parameters(), *model.buffers()]:
            return tensor.device
    return torch.device("cpu")
