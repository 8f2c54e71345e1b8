"""The learning rate of each size: a small search at the smallest rungs, and a rule fitted to it.

A ladder whose rates are wrong at one end seems not to scale. Each size gets a grid of rates; a
size whose best rate lies on the edge of the grid says nothing of the best one, and is left out.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import optuna
import yaml
from pydantic import Field

from recscale import completion, configfile
from recscale.config import RunConfig
from recscale.configfile import ConfigError, Settings
from recscale.pipeline import Places
from recscale.scaling import claims, ladder
from recscale.scaling.ladder import LadderConfig, Rung
from recscale.training.config import LOWER_IS_BETTER

Rates = tuple[Annotated[float, Field(gt=0)], ...]
BEST = "best.yaml"


class SweepConfig(Settings):
    """Which rungs of a ladder are searched, and over which rates."""

    ladder: Path  # beside the sweep's own file
    sizes: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=2)
    history: int = Field(ge=1)
    rates: dict[str, Rates] = Field(min_length=1)  # settings of `training` and their grids
    steps: float = Field(default=1.0, gt=0)  # share of a rung's steps that a trial makes


@dataclass(frozen=True, slots=True)
class Trial:
    """The rates of one size, and the best validation loss that they led to."""

    size: float
    rates: Mapping[str, float]
    loss: float


@dataclass(frozen=True, slots=True)
class Rule:
    """rate(size) = rate * size^power, and the sizes that it rests on."""

    rate: float
    power: float
    best: Mapping[float, float]  # size -> its best rate
    rejected: Mapping[float, str]  # size -> why it says nothing


def load(path: Path, overrides: Iterable[str] = ()) -> tuple[SweepConfig, LadderConfig]:
    """A sweep and its ladder. Raises ConfigError."""
    config = configfile.load(SweepConfig, path, overrides)
    for name, values in config.rates.items():
        if len(values) < 3 or list(values) != sorted(set(values)):
            raise ConfigError(f"rates.{name}: want three rising rates or more, got {values}")
    return config, ladder.load(path.parent / config.ladder).config


def run(config: SweepConfig, rungs: LadderConfig, out: Path, places: Places) -> dict[str, Any]:
    """Search every family at every size; the rules are also in out/best.yaml.

    A trial that has a record is not run again. Raises ConfigError where no size tells its rate.
    """
    storage = claims.open_storage(str(out / "studies.journal"))
    told: dict[str, Any] = {}
    for family in rungs.families:
        trials: list[Trial] = []
        for size in config.sizes:
            rung = Rung(family, size, config.history, 1.0, 1.0, 0)
            trials += _search(config, rungs, rung, out, places, storage)
        told[family] = {
            "rates": {name: _told(rule(trials, name)) for name in config.rates},
            "trials": [{"size": t.size, **t.rates, "loss": t.loss} for t in trials],
        }
    _write(told, out / BEST)
    return told


def rule(trials: Sequence[Trial], rate: str) -> Rule:
    """A line through ln(best rate) over ln(size); a size whose best is on the edge is rejected.

    The best rate is the bottom of a parabola through the grid's best point and its neighbours, each
    with the best of the other rate. Raises ConfigError where fewer than two sizes are left.
    """
    best: dict[float, float] = {}
    rejected: dict[float, str] = {}
    for size in sorted({trial.size for trial in trials}):
        rates, losses = _profile([t for t in trials if t.size == size], rate)
        place = int(np.argmin(losses))
        if place in (0, len(rates) - 1):
            rejected[size] = f"the best of {rates.min():g} to {rates.max():g} is {rates[place]:g}"
        else:
            best[size] = _bottom(rates, losses, place)
    if len(best) < 2:
        raise ConfigError(
            f"{rate}: {len(best)} sizes have their best rate inside the grid, a rule needs 2; "
            + "; ".join(f"size {size:g}: {why}" for size, why in rejected.items())
        )
    power, level = np.polyfit(np.log(list(best)), np.log(list(best.values())), 1)
    return Rule(float(np.exp(level)), float(power), best, rejected)


def _profile(trials: Sequence[Trial], rate: str) -> tuple[np.ndarray, np.ndarray]:
    """The rates in rising order, and the least loss that each was seen with."""
    losses: dict[float, float] = {}
    for trial in trials:
        at = trial.rates[rate]
        losses[at] = min(trial.loss, losses.get(at, np.inf))
    rates = np.array(sorted(losses))
    return rates, np.array([losses[at] for at in rates])


def _bottom(rates: np.ndarray, losses: np.ndarray, place: int) -> float:
    x, y = np.log(rates[place - 1 : place + 2]), losses[place - 1 : place + 2]
    curve, slope, _ = np.polyfit(x, y, 2)
    return float(np.exp(-slope / (2 * curve))) if curve > 0 else float(rates[place])


def _search(  # noqa: PLR0913, one argument for each thing a trial needs
    config: SweepConfig,
    rungs: LadderConfig,
    rung: Rung,
    out: Path,
    places: Places,
    storage: optuna.storages.BaseStorage,
) -> list[Trial]:
    grid = config.rates
    study = optuna.create_study(
        storage=storage,
        study_name=rung.group,
        load_if_exists=True,
    )

    def objective(trial: optuna.Trial) -> float:
        rates = {name: trial.suggest_float(name, min(v), max(v)) for name, v in grid.items()}
        return _run(config, rungs, rung, rates, out, places)

    for values in product(*grid.values()):
        rates = dict(zip(grid, values, strict=True))
        if rates not in [trial.params for trial in _complete(study)]:
            study.enqueue_trial(rates)
            study.optimize(objective, n_trials=1)
    return [
        Trial(rung.size, trial.params, trial.value)
        for trial in _complete(study)
        if trial.value is not None
    ]


def _complete(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    return study.get_trials(states=(optuna.trial.TrialState.COMPLETE,))


def _run(  # noqa: PLR0913, as above
    config: SweepConfig,
    rungs: LadderConfig,
    rung: Rung,
    rates: Mapping[str, float],
    out: Path,
    places: Places,
) -> float:
    """The best validation loss of a rung at these rates; infinity where it diverged."""
    plain = ladder.run_config(rungs, rung)
    raw = plain.model_dump(mode="json")
    steps = max(1, round(plain.training.steps * config.steps))
    every = max(1, steps // ladder.VALIDATIONS)
    raw["training"] |= {
        "steps": steps,
        "validate_every": every,
        "checkpoint_every": every,
        **rates,
    }
    raw["evaluation"]["requests"] = 1  # a trial is judged by its validation alone
    raw["latency"] |= {"requests": 1, "warmup": 0}
    settings = configfile.check(RunConfig, raw)
    name = "-".join([rung.group, *(f"{rate}{value:g}" for rate, value in rates.items())])
    try:
        if not completion.is_done(out / name, settings):
            completion.finish(settings, out / name, places)
    except FloatingPointError:  # the loss was no longer a number: too high a rate
        return float("inf")
    return best_validation(out / name / "events.csv", settings.training.metric)


def best_validation(curve: Path, metric: str) -> float:
    """The least loss of a training curve; of a metric that rises, minus its greatest value."""
    with curve.open(newline="", encoding="utf-8") as stream:
        values = [float(row[metric]) for row in csv.DictReader(stream)]
    return min(values) if metric in LOWER_IS_BETTER else -max(values)


def _told(found: Rule) -> dict[str, Any]:
    return {
        "at_one": found.rate,
        "power": found.power,
        "best": {f"{size:g}": rate for size, rate in found.best.items()},
        "rejected": {f"{size:g}": why for size, why in found.rejected.items()},
    }


def _write(told: Mapping[str, Any], path: Path) -> None:
    aside = path.with_name(f".{os.getpid()}.{path.name}")
    aside.write_text(yaml.safe_dump(dict(told), sort_keys=False), encoding="utf-8")
    aside.replace(path)
