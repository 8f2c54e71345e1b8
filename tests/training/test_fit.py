from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from recscale.features.batches import Loader
from recscale.features.requests import training_rows
from recscale.training.config import TrainingConfig
from recscale.training.cost import row_flops
from recscale.training.fit import Trained, fit
from recscale.types import Batch, Cost
from tests.features.test_requests import two_users


class Line(nn.Module):
    """The smallest ranker: one weight an item, and dropout, so that randomness matters."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(100))

    def loss(self, batch: Batch) -> Tensor:
        return nn.functional.dropout(self.score(batch)).square().mean()

    def score(self, batch: Batch) -> Tensor:
        return self.weight[batch.candidates.features["item"]]

    def cost(self, history: int, candidates: int) -> Cost:
        return Cost(100, 0, 0 * history * candidates)


def train(
    folder: Path, values: list[float], *, resume: bool = False, **settings: object
) -> tuple[Line, Trained]:
    """Fit with a validation that answers `values` in turn."""
    torch.manual_seed(0)
    model, store = Line(), two_users()
    loader = Loader(store, training_rows(store, 2), batch_size=2, seed=0)
    answers: Iterator[float] = iter(values)
    config = TrainingConfig(**{"validate_every": 1, "checkpoint_every": 1, "lr": 0.1, **settings})  # type: ignore[arg-type]
    folder.mkdir(exist_ok=True)
    return model, fit(model, loader, config, lambda: next(answers), folder, resume=resume)


def test_training_stops_when_patience_is_spent_and_remembers_the_best(tmp_path: Path):
    _, trained = train(tmp_path, [0.1, 0.3, 0.2, 0.3, 0.9], steps=9, patience=2)
    assert (trained.steps, trained.best_step, trained.best_value) == (4, 2, 0.3)


def test_a_loss_is_better_when_lower(tmp_path: Path):
    _, trained = train(tmp_path, [0.5, 0.4, 0.6], steps=3, metric="logloss")
    assert (trained.best_step, trained.best_value) == (2, 0.4)


def test_the_best_weights_are_kept_aside(tmp_path: Path):
    model, _ = train(tmp_path, [0.9, 0.1, 0.1], steps=3)
    best = torch.load(tmp_path / "best.ckpt", weights_only=True)
    assert not torch.equal(best["weight"], model.weight)


def test_the_rate_warms_up_and_ends_at_nothing():
    paces = {
        name: [
            TrainingConfig(steps=6, warmup_steps=2, schedule=name).pace(step) for step in range(7)
        ]
        for name in ("constant", "linear", "cosine")
    }
    assert paces["constant"] == [0.5, 1, 1, 1, 1, 1, 1]
    assert paces["linear"] == [0.5, 1, 1, 0.75, 0.5, 0.25, 0]
    assert paces["cosine"] == pytest.approx([0.5, 1, 1, 0.8536, 0.5, 0.1464, 0], abs=1e-4)


def test_the_curve_has_a_line_for_each_validation(tmp_path: Path):
    train(tmp_path, [0.1, 0.2, 0.3], steps=3)
    with (tmp_path / "events.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2", "3"]
    assert [row["ndcg@10"] for row in rows] == ["0.1", "0.2", "0.3"]
    # The first epoch has eight candidates in four batches of windows.
    assert int(rows[2]["events"]) > int(rows[1]["events"]) > 0


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5, 6, 7])
def test_a_resumed_run_equals_a_straight_one(stop: int, tmp_path: Path):
    """Hazard 7, at every step, epoch boundaries included."""
    values = [0.1 * step for step in range(8)]
    straight, whole = train(tmp_path / "a", values, steps=8)
    train(tmp_path / "b", values, steps=stop)
    resumed, parts = train(tmp_path / "b", values[stop:], steps=8, resume=True)
    assert torch.equal(straight.weight, resumed.weight)
    assert (parts.events, parts.rows, parts.best_step) == (
        whole.events,
        whole.rows,
        whole.best_step,
    )
    curves = [(tmp_path / run / "events.csv").read_text().splitlines() for run in "ab"]
    assert [line.split(",")[4:] for line in curves[0]] == [
        line.split(",")[4:] for line in curves[1]
    ]


def test_what_early_stopping_knew_survives_a_resume(tmp_path: Path):
    """Hazard 7: the best step lies before the interruption, and patience is counted across it."""
    train(tmp_path, [0.1, 0.9, 0.2], steps=3)
    _, resumed = train(tmp_path, [0.3, 0.4, 0.5], steps=9, patience=3, resume=True)
    assert (resumed.steps, resumed.best_step, resumed.best_value) == (5, 2, 0.9)


def test_a_loss_that_is_no_number_ends_training_with_advice(tmp_path: Path):
    with pytest.raises(FloatingPointError, match=r"lower training\.lr than 1e\+30"):
        train(tmp_path, [0.0] * 9, steps=9, lr=1e30)


def test_autograd_anomaly_detection_is_off_while_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Hazard 18: asked in the middle of a step, because a trainer switches it back at the end."""
    found: list[bool] = []
    plain = Line.loss

    def loss(self: Line, batch: Batch) -> Tensor:
        found.append(torch.is_anomaly_enabled())
        return plain(self, batch)

    monkeypatch.setattr(Line, "loss", loss)
    train(tmp_path, [0.1], steps=1)
    assert found == [False]


def test_counting_flops_leaves_no_trace():
    """A 100-weight linear ranker with one product: forward 2 x 100 x 3, backward twice that."""

    class Product(Line):
        def loss(self, batch: Batch) -> Tensor:
            rows = len(batch.history.offsets) - 1
            return (torch.ones(rows, 100, requires_grad=True) @ self.weight[:, None]).sum()

    torch.manual_seed(0)
    model, store = Product(), two_users()
    before = torch.get_rng_state()
    assert row_flops(model, Loader(store, training_rows(store, 4), 2, 0)) == 3 * 2 * 100
    assert model.weight.grad is None
    assert torch.equal(before, torch.get_rng_state())
