"""Held-out events against a model: every positive in the full catalogue, every exposure by score.

Each row of a batch is one request: its history holds exactly the newest events that the request
may see, its candidates are held-out events, `user["user_index"]` says whose. An event whose item
training never saw has the id UNSEEN; it counts as a miss.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from recscale.configfile import Settings
from recscale.evaluation import catalogue, metrics
from recscale.evaluation.inference import inference
from recscale.evaluation.predictions import Ranking, Retrieval
from recscale.types import PADDING, UNSEEN, Batch, Ranker, Schema

Seen = Literal["kept", "removed"]
LIST = 10  # items of the list whose behaviour is reported


class EvaluationConfig(Settings):
    """Which held-out events are ranked, and against what."""

    seen: Seen = "kept"  # removed: items in the request's history are not ranked
    requests: int | None = Field(default=2000, ge=1)  # held-out targets; null: all of them


def retrieval(
    model: Ranker, batches: Iterable[Batch], schema: Schema, seen: Seen = "kept"
) -> Retrieval:
    """The rank of each positive candidate in the full catalogue, and the list beside it.

    Targets come in the order of `batches`, whatever the model. With `seen` removed, a target that
    is itself a repeat stays in its own ranking, and the lists hold no repeats at all.
    """
    with inference(model) as device:
        parts = [_retrieve(model, batch.to(device), schema, seen) for batch in batches]
    return _join(parts) if parts else _nothing()


def ranking(model: Ranker, batches: Iterable[Batch], schema: Schema) -> Ranking:
    """The score of every exposure beside its label. Raises ValueError for a NaN score."""
    users = [torch.zeros(0, dtype=torch.int64)]
    labels, scores = [torch.zeros(0)], [torch.zeros(0)]
    with inference(model) as device:
        for source in batches:
            batch = source.to(device)
            users.append(batch.user["user_index"][catalogue.rows(batch)].cpu())
            labels.append(batch.candidates.labels[schema.label].float().cpu())
            scores.append(model.score(batch).float().cpu())
    score = _numpy(torch.cat(scores))
    metrics.require_finite(score)
    return Ranking(_numpy(torch.cat(users)), _numpy(torch.cat(labels)), score)


def _retrieve(model: Ranker, batch: Batch, schema: Schema, seen: Seen) -> Retrieval:
    """The targets of one batch, in the order of its candidates."""
    positive = (batch.candidates.labels[schema.label] > 0).nonzero()[:, 0]  # [R]
    if not len(positive):
        return _nothing()
    requests = catalogue.distinct(batch, positive)
    user = batch.user["user_index"][catalogue.rows(batch)][positive]
    target = batch.candidates.features["item"][positive]
    parts: list[Retrieval] = []
    places: list[Tensor] = []
    for part, scores in catalogue.scores(model, batch, requests.first, schema.num_items):
        here = ((requests.of >= part.start) & (requests.of < part.stop)).nonzero()[:, 0]
        visible = catalogue.seen(batch, requests.first[part], schema.num_items)
        of = requests.of[here] - part.start
        parts.append(_ranked(scores, visible, of, user[here], target[here], seen))
        places.append(here)
    # Chunks follow the model's memory; the order of targets must not.
    return _reorder(_join(parts), _numpy(torch.cat(places).argsort()))


def _ranked(
    scores: Tensor, visible: Tensor, of: Tensor, user: Tensor, target: Tensor, seen: Seen
) -> Retrieval:
    """Scores and visible [g, V]; of, user, target [R]: the targets of g requests."""
    allowed = ~visible if seen == "removed" else torch.ones_like(visible)
    allowed[:, : catalogue.FIRST_ITEM] = False
    lists = _lists(scores, allowed)
    return Retrieval(
        user=_numpy(user),
        target=_numpy(target),
        rank=_ranks(scores, allowed, of, target),
        loss=_losses(scores, of, target),
        repeat=_numpy(visible[of, target]),
        top=_numpy(lists[of]),
        top_seen=_numpy(visible.gather(1, lists)[of]),
    )


def _ranks(scores: Tensor, allowed: Tensor, of: Tensor, target: Tensor) -> NDArray[np.float64]:
    """Scores and allowed [g, V]; of, target [R] -> [R], infinity for UNSEEN."""
    ranks = np.full(len(target), np.inf)
    known = (target != UNSEEN).nonzero()[:, 0]
    # As many targets at once as there are requests: one request may own very many of them.
    for chosen in known.split(len(scores)):
        table = _numpy(scores[of[chosen]].float())
        ranks[_numpy(chosen)] = metrics.rank(
            table, _numpy(target[chosen]), _numpy(allowed[of[chosen]])
        )
    return ranks


def _losses(scores: Tensor, of: Tensor, target: Tensor) -> NDArray[np.float64]:
    """Scores [g, V]; of, target [R] -> [R], NaN for UNSEEN. What was seen stays in the slate."""
    losses = np.full(len(target), np.nan)
    known = _numpy(target != UNSEEN)
    items = _numpy(scores[:, catalogue.FIRST_ITEM :].float())
    chosen = _numpy(target)[known] - catalogue.FIRST_ITEM
    losses[known] = metrics.softmax_loss(items, _numpy(of)[known], chosen)
    return losses


def _lists(scores: Tensor, allowed: Tensor) -> Tensor:
    """[g, V] x 2 -> [g, 10] ids, best first; PADDING where the catalogue ends."""
    value, item = scores.masked_fill(~allowed, -torch.inf).topk(min(LIST, scores.shape[1]))
    lists = item.masked_fill(value == -torch.inf, PADDING)
    return F.pad(lists, (0, LIST - lists.shape[1]), value=PADDING)


def _join(parts: list[Retrieval]) -> Retrieval:
    return Retrieval(
        *(np.concatenate([getattr(p, field.name) for p in parts]) for field in fields(Retrieval))
    )


def _reorder(result: Retrieval, order: NDArray[np.int64]) -> Retrieval:
    return Retrieval(*(getattr(result, field.name)[order] for field in fields(Retrieval)))


def _nothing() -> Retrieval:
    none, lists = np.zeros(0, np.int64), np.zeros((0, LIST), np.int64)
    return Retrieval(none, none, np.zeros(0), np.zeros(0), none > 0, lists, lists > 0)


def _numpy(tensor: Tensor) -> NDArray[Any]:
    return tensor.cpu().numpy()
