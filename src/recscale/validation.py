"""The training metric, measured on the validation part."""

from __future__ import annotations

from recscale import configfile
from recscale.config import RunConfig
from recscale.evaluation import protocol
from recscale.features import requests
from recscale.features.batches import in_order
from recscale.features.planned import planned_rows
from recscale.features.requests import Rows
from recscale.features.store import Store
from recscale.types import Ranker

EVALUATION_ROWS = 64  # rows of an evaluation batch: any number gives the same scores
RANKING = ("auc", "gauc", "logloss", "ne")  # training metrics that read exposures


class Validation:
    """The training metric on the validation part; its requests are chosen once."""

    def __init__(self, config: RunConfig, model: Ranker, store: Store) -> None:
        self.model, self.metric, self.config = model, config.training.metric, config.evaluation
        self.ranked = self.metric in RANKING
        self.rows = requests.evaluation_rows(
            store,
            "valid",
            config.features.history,
            positive=not self.ranked,
            limit=None if self.ranked else config.training.validation_requests,
        )
        if len(self.rows) == 0:
            raise configfile.ConfigError("split.valid: no event falls into the validation part")
        self.store = store

    def __call__(self) -> float:
        """Of the model as it stands. Raises ConfigError where the metric is undefined."""
        value = self._measure().get(self.metric)
        if value is None:
            raise configfile.ConfigError(
                f"training.metric: {self.metric} is undefined on the validation part, where all "
                "labels are alike"
            )
        return value

    def _measure(self) -> dict[str, float]:
        schema = self.store.schema
        batches = in_order(self.store, self.rows, EVALUATION_ROWS)
        if self.ranked:
            return protocol.ranking(self.model, batches, schema).metrics
        return protocol.retrieval(self.model, batches, schema, self.config.seen).metrics


def training_rows(config: RunConfig, store: Store) -> Rows:
    """The rows of the part that is trained on."""
    history = config.features.history
    match config.training.part:
        case "train":
            return planned_rows(store, history, *config.training.share)
        case "valid":
            return requests.evaluation_rows(
                store, "valid", history, positive=not store.schema.exposures
            )


def without(measured: dict[str, float], names: tuple[str, ...]) -> dict[str, float]:
    """Metrics less those named."""
    return {name: value for name, value in measured.items() if name not in names}
