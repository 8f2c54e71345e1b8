"""A ladder: which rungs there are, and the complete settings of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from recscale import configfile
from recscale.config import RunConfig
from recscale.configfile import ConfigError, Settings
from recscale.scaling.recipe import Recipe

Share = Annotated[float, Field(gt=0, le=1)]
VALIDATIONS = 4  # a run: the best of few checkpoints, not a search for a lucky one


class Grid(Settings):
    """Every combination of these, for every family."""

    sizes: tuple[Annotated[float, Field(gt=0)], ...]
    histories: tuple[Annotated[int, Field(ge=1)], ...]
    users: tuple[Share, ...] = (1.0,)
    events: tuple[Share, ...] = (1.0,)
    seeds: int = Field(default=1, ge=1)


class LadderConfig(Settings):
    """Rungs to fit laws to, rungs to test them on, and what every run shares."""

    run: dict[str, Any]  # settings of every run: data, split, features, evaluation, latency, ...
    families: dict[Annotated[str, Field(pattern=r"^[a-z0-9_]+$")], Recipe] = Field(min_length=1)
    grids: tuple[Grid, ...]
    held_out: tuple[Grid, ...] = ()  # not run before their loss has been predicted
    loss: Literal["softmax_loss", "logloss", "ne"] = "softmax_loss"
    metric: str = "ndcg@10"
    budget_ms: float = Field(default=50.0, gt=0)
    price_per_core_hour: float | None = Field(default=None, gt=0)  # in any currency

    @model_validator(mode="after")
    def _the_slate_is_the_same(self) -> Self:
        histories = {h for grid in (*self.grids, *self.held_out) for h in grid.histories}
        seen = self.run.get("evaluation", {}).get("seen", "kept")
        if len(histories) > 1 and seen != "kept":
            raise ValueError(
                f"run.evaluation.seen: {seen} with several histories would rank against different "
                "items; want kept"
            )
        return self


@dataclass(frozen=True, slots=True)
class Rung:
    """One run of a ladder."""

    family: str
    size: float
    history: int
    users: float
    events: float
    seed: int

    @property
    def name(self) -> str:
        """The run's folder: hstu-x2-h50-s0, with the shares where they are not whole."""
        shares = [f"-{k}{v:g}" for k, v in (("u", self.users), ("e", self.events)) if v < 1]
        return f"{self.family}-x{self.size:g}-h{self.history}{''.join(shares)}-s{self.seed}"

    @property
    def group(self) -> str:
        """The name without the seed."""
        return self.name.rpartition("-s")[0]


@dataclass(frozen=True, slots=True)
class Ladder:
    """A checked ladder file."""

    name: str
    config: LadderConfig

    @property
    def fitted(self) -> list[Rung]:
        """The rungs that laws are fitted to, cheapest first."""
        held = {(r.group) for r in self.held_out}
        return [rung for rung in self._rungs(self.config.grids) if rung.group not in held]

    @property
    def held_out(self) -> list[Rung]:
        """The rungs that are predicted before they run."""
        return self._rungs(self.config.held_out)

    def _rungs(self, grids: Iterable[Grid]) -> list[Rung]:
        found = {
            Rung(family, *place, seed)
            for grid in grids
            for place in product(grid.sizes, grid.histories, grid.users, grid.events)
            for family in self.config.families
            for seed in range(grid.seeds)
        }
        return sorted(found, key=lambda r: (r.size * r.history * r.users * r.events, r.name))


def load(path: Path, overrides: Iterable[str] = ()) -> Ladder:
    """Read a ladder file and check every rung's settings. Raises ConfigError."""
    ladder = Ladder(path.stem, configfile.load(LadderConfig, path, overrides))
    if not ladder.fitted:
        raise ConfigError(f"{path}: grids: no rung is left that is not held out; laws need some")
    for rung in (*ladder.fitted, *ladder.held_out):
        run_config(ladder.config, rung)
    return ladder


def run_config(config: LadderConfig, rung: Rung) -> RunConfig:
    """The complete settings of a rung: a function of both and of nothing else.

    Raises ConfigError that names the rung and the setting that does not fit.
    """
    recipe = config.families[rung.family]
    pace = recipe.training_at(rung.size, rung.history, rung.users * rung.events)
    every = max(1, pace["steps"] // VALIDATIONS)
    training = {
        "metric": config.loss,
        "validate_every": every,
        "checkpoint_every": every,
        "patience": VALIDATIONS + 1,  # a fixed horizon: no rung stops early
        **config.run.get("training", {}),
        **pace,
        "users": rung.users,
        "events": rung.events,
    }
    raw = {
        **config.run,
        "model": recipe.model_at(rung.size),
        "features": {**config.run.get("features", {}), "history": rung.history},
        "training": training,
        "seed": rung.seed,
    }
    try:
        return configfile.check(RunConfig, raw)
    except ConfigError as error:
        raise ConfigError(f"rung {rung.name}: {error}") from error
