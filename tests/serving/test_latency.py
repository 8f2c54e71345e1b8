"""Latency: what is timed and what is concluded, without ever asserting on the clock."""

import gc

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from recscale.serving import latency
from recscale.serving.latency import LatencyConfig
from recscale.types import Batch, Candidates, Cost, History


class Dot(nn.Module):
    """Sums item weights, and counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.items = nn.Embedding(20, 4)
        self.calls = 0
        self.collected = False

    def loss(self, batch: Batch) -> Tensor:
        return self.score(batch).sum()

    def score(self, batch: Batch) -> Tensor:
        self.calls += 1
        self.collected = self.collected or gc.isenabled() or torch.is_grad_enabled()
        return self.items(batch.candidates.features["item"]).sum(-1)

    def cost(self, history: int, candidates: int) -> Cost:
        return Cost(0, 80, 4 * (history + candidates))


def request(history: int, candidates: int, rows: int = 1) -> Batch:
    return Batch(
        {},
        History(
            {"item": torch.ones(history, dtype=torch.int64)},
            torch.arange(history),
            torch.tensor([0] * rows + [history]),
        ),
        Candidates(
            {"item": torch.arange(candidates)},
            torch.full((candidates,), history),
            torch.full((candidates,), history),
            {},
            torch.tensor([0] * rows + [candidates]),
        ),
    )


def test_every_request_is_timed_after_a_warm_up():
    model = Dot()
    config = LatencyConfig(requests=30, warmup=5, candidates=8)
    found = latency.measure(model, (request(n % 4 + 1, 8) for n in range(12)), config)
    assert model.calls == 35
    assert found["p50_ms"] <= found["p95_ms"] <= found["p99_ms"]
    assert (found["requests"], found["candidates"], found["history"]) == (30, 8, 4)
    assert 0 < found["throughput_rps"] < float("inf")


def test_neither_gradients_nor_the_collector_run_while_timing():
    model = Dot()
    latency.measure(model, [request(2, 3)], LatencyConfig(requests=3))
    assert not model.collected
    assert gc.isenabled()
    assert model.training


def test_percentiles_are_order_statistics():
    found = latency.summary(np.arange(200, 0, -1.0), budget_ms=198, percentile=99)
    assert (found["p50_ms"], found["p95_ms"], found["p99_ms"]) == (100, 190, 198)
    assert found["throughput_rps"] == pytest.approx(1e3 * 200 / 20100)


@pytest.mark.parametrize(("budget", "within"), [(198.0, True), (197.9, False)])
def test_the_verdict_is_on_the_chosen_percentile(budget: float, within: bool):
    assert latency.summary(np.arange(1.0, 201), budget, 99)["within_budget"] is within


def test_the_verdict_follows_the_percentile():
    times = np.r_[np.full(98, 1.0), 60, 70]
    assert latency.summary(times, 50, 95)["within_budget"] is True
    assert latency.summary(times, 50, 99)["within_budget"] is False


def test_few_requests_leave_the_upper_end_open():
    assert latency.interval(200, 99) == (195, None)
    found = latency.summary(np.arange(1.0, 201), 50)
    assert found["p99_low_ms"] == 195
    assert "p99_high_ms" not in found


def test_an_end_exists_from_the_number_of_requests_that_theory_gives():
    # 0.99^n < 0.025 first holds at n = 368.
    assert latency.interval(367, 99)[1] is None
    assert latency.interval(368, 99)[1] == 368
    assert latency.interval(LatencyConfig().requests, 99)[1] is not None


def test_the_interval_covers_the_true_percentile_as_often_as_it_says():
    low, high = latency.interval(400, 95)
    draws = np.sort(np.random.default_rng(0).exponential(size=(4000, 400)), axis=1)
    truth = -np.log(0.05)
    covered = (draws[:, low - 1] <= truth) & (truth <= draws[:, high - 1])
    assert 0.945 < covered.mean() < 0.98


def test_a_single_request_is_summed_up_without_an_upper_end():
    found = latency.summary(np.array([3.0]), 50)
    assert found["p99_ms"] == 3.0
    assert "p99_high_ms" not in found


def test_nothing_to_time_and_two_rows_at_once_are_refused():
    with pytest.raises(ValueError, match="at least one request"):
        latency.measure(Dot(), [], LatencyConfig())
    with pytest.raises(ValueError, match="several rows"):
        latency.measure(Dot(), [request(2, 3, rows=2)], LatencyConfig())


def test_a_budget_must_be_positive_and_a_percentile_known():
    with pytest.raises(ValidationError):
        LatencyConfig(budget_ms=0)
    with pytest.raises(ValidationError):
        LatencyConfig.model_validate({"percentile": 42})


@pytest.mark.parametrize("percentile", [50, 90, 95, 99, 99.9])
def test_an_interval_has_both_ends_from_the_number_of_requests_that_is_told(percentile: float):
    enough = latency.needed(percentile)
    assert None not in latency.interval(enough, percentile)
    assert None in latency.interval(enough - 1, percentile)


class Listing(Dot):
    """Ranks the catalogue in a way of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def score_all(self, batch: Batch) -> Tensor:
        self.asked.append(len(batch.candidates.time))
        return torch.zeros(len(batch.candidates.time), 20)


def test_a_model_that_makes_its_own_list_is_timed_by_that():
    model = Listing()
    latency.measure(model, [request(2, 8)], LatencyConfig(requests=3, warmup=1))
    assert model.asked == [1, 1, 1, 1]  # one list a request, however many candidates it names
    assert model.calls == 0
