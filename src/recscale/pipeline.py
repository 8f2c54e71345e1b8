"""One run from settings to record. READ THIS FIRST.

log -> prepared folder -> model -> training -> evaluation -> latency -> record
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from recscale import configfile, members, models, record
from recscale.config import RunConfig, load
from recscale.evaluation import predictions, protocol, shown
from recscale.evaluation.context import context
from recscale.evaluation.predictions import Predictions
from recscale.features import requests
from recscale.features.batches import Loader, in_order
from recscale.features.planned import planned_rows
from recscale.features.prepare import prepare, summary
from recscale.features.requests import Rows
from recscale.features.store import Store, open_store, schema_to_json
from recscale.models.counting import parameter_groups
from recscale.serving import trial
from recscale.training.callbacks import save_whole
from recscale.training.cost import row_flops
from recscale.training.fit import Trained, fit
from recscale.types import Batch, Lister, Part, Ranker, Record
from recscale.validation import EVALUATION_ROWS, RANKING, Validation

CALIBRATION = ("logloss", "ne", "ece", "softmax_loss")  # read the score as a probability


@dataclass(frozen=True, slots=True)
class Places:
    """Folders outside the run."""

    raw: Path
    prepared: Path


def run(config: RunConfig, folder: Path, places: Places, *, resume: bool = False) -> Record:
    """Train, evaluate and time one model; the record is also in `folder`/record.json.

    Raises ValueError for settings that do not fit the log, KeyboardInterrupt after Ctrl-C: the
    folder can then be evaluated, or gone on with by `resume`.
    """
    store = _store(config, places)
    model, found = _made(config, store, folder, places, resume=resume)
    found["metrics"] = _evaluate(config, model, store, folder)
    found["latency"] = trial.timed(model, store, config.latency)
    record.write(found, folder)
    return found


def _made(
    config: RunConfig, store: Store, folder: Path, places: Places, *, resume: bool
) -> tuple[Ranker, Record]:
    """A trained model, saved in `folder`, and its record before anything is measured."""
    model = _build(config, store)  # before any work: members that do not fit are refused here
    _claim(folder, config, store, resume=resume)
    used = _members(config, store, folder, places)
    torch.manual_seed(config.seed)
    model = _build(config, store, used)
    trained = _train(config, model, store, folder, resume=resume)
    save_whole(_module(model).state_dict(), folder / "model.ckpt")
    if trained is not None and trained.interrupted:
        raise KeyboardInterrupt
    return model, members.total(_record(config, folder, store, model, trained), used)


def _build(config: RunConfig, store: Store, used: Mapping[str, Path] | None = None) -> Ranker:
    """The model of a run; members have the weights of the runs in `used`, where it is given."""
    schema, catalogue = store.schema, store.catalogue()
    parts = {name: models.build(m.model, schema, catalogue) for name, m in config.members.items()}
    for name, place in (used or {}).items():
        members.load_weights(_module(parts[name]), place)
    return models.build(config.model, schema, catalogue, [*parts.values()])


def _members(config: RunConfig, store: Store, folder: Path, places: Places) -> dict[str, Path]:
    """Member -> the folder of its run."""

    def train(wanted: RunConfig, place: Path) -> None:
        begun = (place / "last.ckpt").exists()
        _, found = _made(wanted, store, place, places, resume=begun)
        record.write(found, place)

    return {name: members.weights(name, config, folder, store, train) for name in config.members}


def evaluate(folder: Path, places: Places) -> Record:
    """Measure a trained run again; the record's metrics are replaced."""
    config, store, model = reopen(folder, places)
    found = {**record_of(folder, config, store, model)}
    found["metrics"] = _evaluate(config, model, store, folder)
    record.write(found, folder)
    return found


def _store(config: RunConfig, places: Places) -> Store:
    folder = prepare(config.recipe, places.raw, places.prepared)
    store = open_store(folder, config.features.history)
    if config.training.metric in RANKING and not store.schema.exposures:
        raise configfile.ConfigError(
            f"training.metric: {config.training.metric} needs a log with labels of exposures; "
            "this one holds positive events only"
        )
    return store


def _claim(folder: Path, config: RunConfig, store: Store, *, resume: bool) -> None:
    """Write the settings, or see that they are the ones a resumed run began with."""
    settings = folder / "config.yaml"
    if resume:
        if not settings.exists():
            raise ValueError(f"{folder}: nothing to resume, there is no config.yaml")
        if load(settings) != config:
            raise ValueError(f"{settings}: the run to resume began with other settings")
        _require_same_data(folder, store)
        return
    if (folder / "record.json").exists():
        raise ValueError(f"{folder}: holds a finished run; remove it or choose another folder")
    if (folder / "last.ckpt").exists():
        raise ValueError(f"{folder}: holds an unfinished run; --resume goes on with it")
    folder.mkdir(parents=True, exist_ok=True)
    for stale in ("events.csv", "best.ckpt", "model.ckpt", "predictions.npz"):
        (folder / stale).unlink(missing_ok=True)
    schema = {"digest": store.digest, **schema_to_json(store.schema)}
    (folder / "schema.json").write_text(json.dumps(schema, indent=1), encoding="utf-8")
    settings.write_text(configfile.dump(config), encoding="utf-8")  # last: now there is a run


def _require_same_data(folder: Path, store: Store) -> None:
    """Ids mean what they meant in training only over the same prepared data."""
    began = json.loads((folder / "schema.json").read_text(encoding="utf-8"))["digest"]
    if began != store.digest:
        raise ValueError(f"{folder}: trained on data {began}, found {store.digest}")


def _train(
    config: RunConfig, model: Ranker, store: Store, folder: Path, *, resume: bool
) -> Trained | None:
    """Train in place and return with the best weights; None for a floor."""
    if not models.is_trained(_module(model)):
        return None
    rows = _training_rows(config, store)
    if len(rows) == 0:
        raise ValueError(f"{store.folder}: no training event is left; see its `dropped`")
    loader = Loader(store, rows, config.training.batch_size, config.seed)
    validate = Validation(config, model, store)
    print(f"{folder.name}: {len(rows):,} rows, {len(loader):,} steps an epoch", file=sys.stderr)  # noqa: T201
    torch.manual_seed(config.seed)
    trained = fit(model, loader, config.training, validate, folder, resume=resume)
    best = folder / "best.ckpt"
    if best.exists():
        _module(model).load_state_dict(torch.load(best, weights_only=True))
    _place(model)  # Lightning leaves it on the CPU
    return trained


def _training_rows(config: RunConfig, store: Store) -> Rows:
    history = config.features.history
    match config.training.part:
        case "train":
            return planned_rows(store, history, *config.training.share)
        case "valid":
            return requests.evaluation_rows(
                store, "valid", history, positive=not store.schema.exposures
            )


def _evaluate(config: RunConfig, model: Ranker, store: Store, folder: Path) -> dict[str, Any]:
    """The metrics of the test part; what each request got is kept in predictions.npz."""
    print(f"{folder.name}: evaluating", file=sys.stderr)  # noqa: T201
    retrieval = protocol.retrieval(
        model,
        _requests(config, store, "test", positive=True),
        store.schema,
        config.evaluation.seen,
    )
    ranking = None
    if store.schema.exposures:
        exposures = _requests(config, store, "test", positive=False)
        ranking = protocol.ranking(model, exposures, store.schema)
    about = context(store, _requests(config, store, "test", positive=True))
    predictions.save(Predictions(retrieval, ranking, about), folder)
    lists = shown.measure(retrieval, about, store, config.evaluation.seen)
    # A floor orders items; its score is no probability, so nothing that reads one is measured.
    unread = CALIBRATION if models.is_floor(_module(model)) else ()
    # Nor are the places of a list logits.
    listed = ("softmax_loss",) if isinstance(model, Lister) else unread
    metrics: dict[str, Any] = {"retrieval": _without(retrieval.metrics, listed)}
    if ranking is not None:
        metrics["ranking"] = _without(ranking.metrics, unread)
    return {**metrics, "behaviour": lists}


def _without(measured: dict[str, float], names: tuple[str, ...]) -> dict[str, float]:
    return {name: value for name, value in measured.items() if name not in names}


def _requests(config: RunConfig, store: Store, part: Part, *, positive: bool) -> Iterator[Batch]:
    limit = config.evaluation.requests if positive else None
    rows = requests.evaluation_rows(
        store, part, config.features.history, positive=positive, limit=limit
    )
    return in_order(store, rows, EVALUATION_ROWS)


def _record(
    config: RunConfig, folder: Path, store: Store, model: Ranker, trained: Trained | None
) -> Record:
    flops, train, cost = None, None, model.cost(config.features.history, config.latency.candidates)
    if trained is not None:
        rows = _training_rows(config, store)
        loader = Loader(store, rows, config.training.batch_size, config.seed)
        flops = round(trained.rows * row_flops(model, loader))
        train = {**trained.summary(), "distinct_events": len(rows.candidate)}
    return record.build(
        name=folder.name,
        seed=config.seed,
        config=config.model_dump(mode="json"),
        data=summary(store.folder),
        machine=record.machine(),
        cost=cost,
        parameters=parameter_groups(_module(model)),
        train_flops=flops,
        train=train,
    )


def reopen(folder: Path, places: Places) -> tuple[RunConfig, Store, Ranker]:
    """Settings, data and model of a trained run. Raises ValueError where there is none."""
    weights = folder / "model.ckpt"
    if not weights.exists():
        raise ValueError(f"{folder}: not a run folder, it has no model.ckpt")
    config = load(folder / "config.yaml")
    store = _trained_on(folder, config, places)
    model = _build(config, store)
    members.load_weights(_module(model), folder)
    _place(model)
    return config, store, model


def _trained_on(folder: Path, config: RunConfig, places: Places) -> Store:
    """The prepared folder that a run names; made again from the raw log only where it is gone."""
    schema = json.loads((folder / "schema.json").read_text(encoding="utf-8"))
    prepared = places.prepared / schema["digest"]
    if (prepared / "meta.json").exists():
        return open_store(prepared, config.features.history)
    store = _store(config, places)
    _require_same_data(folder, store)
    return store


def record_of(folder: Path, config: RunConfig, store: Store, model: Ranker) -> Record:
    """The record there is; a run stopped by Ctrl-C has none yet."""
    if (folder / "record.json").exists():
        return record.read(folder)
    return _record(config, folder, store, model, None)


def _place(model: Ranker) -> None:
    """Onto the accelerator where there is one, so that it is measured where it was trained."""
    _module(model).to("cuda" if torch.cuda.is_available() else "cpu")


def _module(model: Ranker) -> nn.Module:
    assert isinstance(model, nn.Module)
    return model
