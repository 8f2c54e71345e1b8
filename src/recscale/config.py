"""The whole tree of settings on one page."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import Field

from recscale import configfile
from recscale.configfile import Settings
from recscale.data import DataConfig
from recscale.data.split import SplitConfig
from recscale.evaluation.protocol import EvaluationConfig
from recscale.features.config import FeaturesConfig
from recscale.features.prepare import Recipe
from recscale.models import ModelConfig, SingleConfig
from recscale.serving.latency import LatencyConfig
from recscale.training.config import TrainingConfig


class MemberConfig(Settings):
    """One model of a combiner, trained as if alone."""

    model: SingleConfig
    training: TrainingConfig = TrainingConfig()
    seed: int = 0  # added to the run's: two members of one config need two seeds


class Shared(Settings):
    """The settings of another file that a member takes over, its model apart."""

    training: TrainingConfig = TrainingConfig()


class RunConfig(Settings):
    """Everything that decides the outcome of a run."""

    data: DataConfig
    split: SplitConfig = SplitConfig()
    features: FeaturesConfig = FeaturesConfig()
    model: ModelConfig
    members: dict[str, MemberConfig] = Field(default_factory=dict[str, MemberConfig])
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    latency: LatencyConfig = LatencyConfig()
    seed: int = 0

    @property
    def recipe(self) -> Recipe:
        """The part that decides the prepared folder."""
        return Recipe(data=self.data, split=self.split, features=self.features)

    def of_member(self, name: str) -> RunConfig:
        """The run whose model a member is: the same requests, and settings of its own."""
        member = self.members[name]
        return self.model_copy(
            update={
                "model": member.model,
                "members": {},
                "training": member.training,
                "seed": self.seed + member.seed,
            }
        )


def load(path: Path, overrides: Iterable[str] = ()) -> RunConfig:
    """The run in a YAML file, with `a.b=value` overrides. Raises ConfigError.

    A member may name the file of another run beside this one, `{file: other.yaml}`, and then has
    its model and its training, and what an override says of training too: as that run would be
    made by the same command.
    """
    changes = list(overrides)
    raw = configfile.read(path)
    members = raw.get("members")
    if isinstance(members, dict):
        raw["members"] = {
            name: _member(member, f"members.{name}", path, changes)
            for name, member in members.items()
        }
    return configfile.check(RunConfig, raw, changes)


def _member(raw: Any, key: str, path: Path, changes: list[str]) -> Any:
    if not isinstance(raw, dict) or "file" not in raw:
        return raw
    own = {name: value for name, value in raw.items() if name != "file"}
    found = configfile.read(path.parent / str(raw["file"]))
    if "model" not in found:
        raise configfile.ConfigError(f"{key}.file: {raw['file']} holds no model")
    shared = [change for change in changes if change.startswith("training.")]
    merged = {"training": {**found.get("training", {}), **own.pop("training", {})}}
    training = configfile.check(Shared, merged, shared).training
    return {"model": found["model"], "training": training.model_dump(mode="json"), **own}
