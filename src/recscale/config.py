"""The whole tree of settings on one page."""

from __future__ import annotations

from recscale.configfile import Settings
from recscale.data import DataConfig
from recscale.data.split import SplitConfig
from recscale.evaluation.protocol import EvaluationConfig
from recscale.features.config import FeaturesConfig
from recscale.features.prepare import Recipe
from recscale.models import ModelConfig
from recscale.serving.latency import LatencyConfig
from recscale.training.config import TrainingConfig


class RunConfig(Settings):
    """Everything that decides the outcome of a run."""

    data: DataConfig
    split: SplitConfig = SplitConfig()
    features: FeaturesConfig = FeaturesConfig()
    model: ModelConfig
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    latency: LatencyConfig = LatencyConfig()
    seed: int = 0

    @property
    def recipe(self) -> Recipe:
        """The part that decides the prepared folder."""
        return Recipe(data=self.data, split=self.split, features=self.features)
