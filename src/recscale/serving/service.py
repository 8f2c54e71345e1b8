"""What the server does, without HTTP: messages in, answers out."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recscale.features.codec import Codec, FieldError
from recscale.features.store import Store
from recscale.models.memory import chain
from recscale.serving import index
from recscale.serving.engine import Engine, EngineConfig, Request
from recscale.serving.messages import Events, Recommend, Score
from recscale.serving.past import OutOfOrderError
from recscale.types import UNSEEN, History, Ranker

Message = Score | Recommend | Events


class Service:
    """A run's model with the users of its log. Answers are JSON-ready, or exceptions."""

    def __init__(self, model: Ranker, store: Store, config: EngineConfig) -> None:
        self.store, self.codec = store, Codec(store)
        self.engine = Engine(model, store.schema, config, known=self._logged)
        vectors = self.engine.item_vectors()
        self.index = None if vectors is None else index.build(vectors)

    def answer(self, messages: Sequence[Message]) -> list[Any]:
        """One answer a message. Scores are worked out together, the rest in its turn."""
        answers: list[Any] = [None] * len(messages)
        scored: list[tuple[int, Request]] = []
        for place, message in enumerate(messages):
            try:
                match message:
                    case Score():
                        scored.append((place, self._request(message)))
                    case Recommend():
                        answers[place] = self._recommend(message)
                    case Events():
                        answers[place] = self._append(message)
            except (FieldError, OutOfOrderError) as error:
                answers[place] = error
        for place, scores in self._scores(scored):
            answers[place] = scores
        return answers

    def _scores(self, scored: Sequence[tuple[int, Request]]) -> list[tuple[int, Any]]:
        try:
            found = self.engine.score([request for _, request in scored])
            return [
                (place, {"scores": scores.tolist()})
                for (place, _), scores in zip(scored, found, strict=True)
            ]
        except OutOfOrderError as error:
            if len(scored) == 1:
                return [(scored[0][0], error)]
            return [answer for one in scored for answer in self._scores([one])]

    def _recommend(self, message: Recommend) -> dict[str, Any]:
        request = self._request(message)
        hidden = torch.zeros(0, dtype=torch.int64)
        if message.seen == "removed":
            hidden = self.engine.visible(request).features["item"].unique()
        scores, items = self._best(request, message.count + len(hidden))
        left = ~torch.isin(items, hidden) & scores.isfinite()
        scores, items = scores[left][: message.count], items[left][: message.count]
        names = [self.codec.name(item) for item in items.tolist()]
        return {"items": names, "scores": scores.tolist()}

    def _best(self, request: Request, count: int) -> tuple[Tensor, Tensor]:
        """The `count` best items of the whole catalogue."""
        queries = self.engine.queries([request])
        if self.index is not None and queries is not None:
            with self.engine.spans("topk"):
                scores, items = self.index.search(queries, count)
            return scores[0], items[0]
        (scores,) = self.engine.score([request])
        with self.engine.spans("topk"):
            scores, place = scores.topk(min(count, len(scores)))
        return scores, request.items[place]

    def _append(self, message: Events) -> dict[str, Any]:
        rows = [self._event(event, place) for place, event in enumerate(message.events)]
        history = chain(rows)
        late = (history.time.diff() < 0).nonzero()
        if len(late):
            raise FieldError(f"events.{int(late[0]) + 1}.time", "lies before the event above it")
        try:
            self.engine.append(self._key(message.user), history)
        except OutOfOrderError as error:
            raise FieldError("events.0.time", str(error).removeprefix("time: ")) from error
        unknown = int((history.features["item"] == UNSEEN).sum())
        return {"appended": len(rows), "unknown_items": unknown}

    def _event(self, event: Any, place: int) -> History:
        item = torch.tensor([self.codec.item(event.item)])
        features = self.codec.of_event(event.features, f"events.{place}.features")
        clock = torch.tensor([_now() if event.time is None else event.time])
        return History({"item": item, **features}, clock, torch.tensor([0, 1]))

    def _request(self, message: Score | Recommend) -> Request:
        match message:
            case Score():
                items = self.codec.candidates(message.items)
            case Recommend():
                items = torch.arange(index.FIRST, self.store.schema.num_items)
        return Request(
            user=self._key(message.user),
            time=_now() if message.time is None else message.time,
            items=items,
            context=self.codec.of_request(message.context),
            features=self._features(message),
        )

    def _features(self, message: Score | Recommend) -> dict[str, Tensor]:
        """What the log knows of the user; for somebody new, what the message tells."""
        place = self.codec.user(message.user)
        if place is None or message.features:
            return self.codec.of_user(message.features)
        columns = ((f.name, self.store.users[f.name]) for f in self.store.schema.user)
        return {name: torch.from_numpy(_row(values, place, place + 1)) for name, values in columns}

    def _key(self, name: int | str) -> Hashable:
        """A user of the log is an index, anybody else a text: the two never meet."""
        place = self.codec.user(name)
        return str(name) if place is None else place

    def _logged(self, user: Hashable) -> History | None:
        """The events of the log, of one of its users."""
        if not isinstance(user, int):
            return None
        start, stop = self.store.history_offsets[user : user + 2]
        features = (*self.store.schema.context, *self.store.schema.event)
        names = ["item", *(feature.name for feature in features)]
        columns = {n: torch.from_numpy(_row(self.store.history[n], start, stop)) for n in names}
        clock = torch.from_numpy(_row(self.store.history["time"], start, stop))
        return History(columns, clock, torch.tensor([0, int(stop - start)]))


def _row(values: np.ndarray, start: int, stop: int) -> np.ndarray:
    """A copy, ids as int64 and numbers as float32."""
    part = values[start:stop]
    return part.astype(np.float32 if part.dtype == np.float32 else np.int64)


def _now() -> int:
    return time.time_ns() // 1_000_000
