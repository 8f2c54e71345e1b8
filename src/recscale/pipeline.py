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
from recscale.claim import claim, require_same_data
from recscale.config import RunConfig, load
from recscale.evaluation import predictions, protocol, shown
from recscale.evaluation.context import context
from recscale.evaluation.predictions import Predictions
from recscale.features import requests
from recscale.features.batches import Loader, in_order
from recscale.features.prepare import prepare, summary
from recscale.features.store import Store, open_store
from recscale.models import ranks
from recscale.models.counting import parameter_groups
from recscale.serving import trial
from recscale.training import launch
from recscale.training.cost import row_flops
from recscale.training.fit import Trained, fit
from recscale.training.keeper import save_whole
from recscale.types import Batch, Lister, Part, Ranker, Record
from recscale.validation import EVALUATION_ROWS, RANKING, Validation, training_rows, without

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
    if launch.launched():
        store, model, found = _made_together(config, folder, places, resume=resume)
    else:
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
    claim(folder, config, store, resume=resume)
    used = _members(config, store, folder, places)
    torch.manual_seed(config.seed)
    model = _build(config, store, used)
    trained = _train(config, model, store, folder, resume=resume)
    return model, members.total(_saved(config, folder, store, model, trained), used)


def _made_together(
    config: RunConfig, folder: Path, places: Places, *, resume: bool
) -> tuple[Store, Ranker, Record]:
    """The same by several processes; this is the first of them."""
    with launch.joined():
        store, trained = _learn(config, folder, places, resume=resume)
    model = _build(config, store)  # the one that was trained lies in shards
    if trained is not None:
        _module(model).load_state_dict(torch.load(folder / "best.ckpt", weights_only=True))
    _place(model)
    return store, model, _saved(config, folder, store, model, trained)


def assist(config: RunConfig, folder: Path, places: Places, *, resume: bool = False) -> None:
    """What processes beside the first do in `run`: train with it, and no more."""
    with launch.joined():
        _learn(config, folder, places, resume=resume)


def _learn(
    config: RunConfig, folder: Path, places: Places, *, resume: bool
) -> tuple[Store, Trained | None]:
    """The log, the model, and its training, by every process together."""
    if config.members:
        raise configfile.ConfigError(
            "members: are trained by one process; start it without torchrun"
        )
    resume = resume or (launch.restarted() and (folder / "config.yaml").exists())
    store = launch.first_then_all(lambda: _store(config, places))
    if launch.first():
        claim(folder, config, store, resume=resume)
    ranks.gather(None)  # the folder is there
    torch.manual_seed(config.seed)
    return store, _train(config, _build(config, store), store, folder, resume=resume)


def _saved(
    config: RunConfig, folder: Path, store: Store, model: Ranker, trained: Trained | None
) -> Record:
    save_whole(_module(model).state_dict(), folder / "model.ckpt")
    if trained is not None and trained.interrupted:
        raise KeyboardInterrupt
    return _record(config, folder, store, model, trained)


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


def _train(
    config: RunConfig, model: Ranker, store: Store, folder: Path, *, resume: bool
) -> Trained | None:
    """Train in place and return with the best weights; None for a floor."""
    if not models.is_trained(_module(model)):
        return None
    rows = training_rows(config, store)
    if len(rows) == 0:
        raise ValueError(f"{store.folder}: no training event is left; see its `dropped`")
    share = (ranks.rank(), ranks.world())
    loader = Loader(store, rows, config.training.batch_size, config.seed, *share)
    validate = Validation(config, model, store)
    if launch.first():
        print(f"{folder.name}: {len(rows):,} rows, {len(loader):,} steps an epoch", file=sys.stderr)  # noqa: T201
    torch.manual_seed(config.seed)
    trained = fit(model, loader, config.training, validate, folder, resume=resume)
    best = folder / "best.ckpt"
    if best.exists() and not launch.launched():
        _module(model).load_state_dict(torch.load(best, weights_only=True))
    _place(model)  # Lightning leaves it on the CPU
    return trained


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
    metrics: dict[str, Any] = {"retrieval": without(retrieval.metrics, listed)}
    if ranking is not None:
        metrics["ranking"] = without(ranking.metrics, unread)
    return {**metrics, "behaviour": lists}


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
        rows = training_rows(config, store)
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
    require_same_data(folder, store)
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
