"""What a model said of each held-out event, kept for comparisons that no mean allows."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from recscale.evaluation import behaviour, metrics
from recscale.evaluation.context import Context
from recscale.types import UNSEEN

FILE = "predictions.npz"


@dataclass(frozen=True, slots=True)
class Retrieval:
    """R held-out events, each ranked in the full catalogue."""

    user: NDArray[np.int64]  # [R] user index
    target: NDArray[np.int64]  # [R] item id; UNSEEN where training never saw it
    rank: NDArray[np.float64]  # [R] infinity where the target is UNSEEN
    loss: NDArray[np.float64]  # [R] nats: metrics.softmax_loss; NaN where the target is UNSEEN
    repeat: NDArray[np.bool_]  # [R] the target was in the history that the request saw
    top: NDArray[np.int64]  # [R, 10] the list of the request, PADDING where the catalogue ends
    top_seen: NDArray[np.bool_]  # [R, 10] which of them were in that history

    @property
    def metrics(self) -> dict[str, float]:
        """Means over targets, and how many targets there were."""
        cold = int((self.target == UNSEEN).sum())
        known = self.loss[self.target != UNSEEN]
        measured = {"softmax_loss": float(known.mean())} if known.size else {}
        counts = {"targets": self.rank.size, "cold_targets": cold}
        return {**metrics.retrieval(self.rank), **measured, **counts}

    def behaviour(self, popularity: NDArray[np.int64]) -> dict[str, float]:
        """popularity [V] training events of each item -> behaviour metrics of the lists."""
        return behaviour.summary(self.top, self.top_seen, self.rank, self.repeat, popularity)


@dataclass(frozen=True, slots=True)
class Ranking:
    """n exposures with their labels and scores."""

    user: NDArray[np.int64]  # [n] user index
    label: NDArray[np.float32]  # [n]
    score: NDArray[np.float32]  # [n] logits

    @property
    def metrics(self) -> dict[str, float]:
        """Every ranking metric that is defined, and the counts behind them."""
        return metrics.ranking(self.user, self.label, self.score)


@dataclass(frozen=True, slots=True)
class Predictions:
    """What one run leaves beside its record; an evaluation that was not made is None."""

    retrieval: Retrieval | None
    ranking: Ranking | None
    context: Context | None = None  # of the events in `retrieval`


T = TypeVar("T", Retrieval, Ranking, Context)


def save(predictions: Predictions, folder: Path) -> None:
    """Write the arrays into `folder`, whole: aside first, then renamed."""
    arrays = {
        f"{group}.{field.name}": getattr(result, field.name)
        for group, result in [
            ("retrieval", predictions.retrieval),
            ("ranking", predictions.ranking),
            ("context", predictions.context),
        ]
        if result is not None
        for field in fields(result)
    }
    aside = folder / f".{os.getpid()}.{FILE}"
    with aside.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
    aside.replace(folder / FILE)


def load(folder: Path) -> Predictions:
    """Read what `save` wrote. Raises ValueError for a file that is broken, in one line."""
    path = folder / FILE
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        retrieval, ranking = _group(Retrieval, arrays), _group(Ranking, arrays)
        return Predictions(retrieval, ranking, _group(Context, arrays))
    except (BadZipFile, EOFError, KeyError, ValueError) as error:
        raise ValueError(f"{path}: broken ({error})") from error


def _group(kind: type[T], arrays: dict[str, NDArray[Any]]) -> T | None:
    prefix = kind.__name__.lower()
    if not any(name.startswith(f"{prefix}.") for name in arrays):
        return None
    return kind(*(arrays[f"{prefix}.{field.name}"] for field in fields(kind)))
