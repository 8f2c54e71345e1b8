"""The evaluation protocol, on a model small enough to check by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from recscale.evaluation import catalogue, protocol
from recscale.evaluation.predictions import Predictions, Retrieval, load, save
from recscale.types import Batch, Candidates, Cost, Feature, History, Ranker, Retriever, Schema

V = 40
SCHEMA = Schema(
    item=(Feature("item", "categorical", V),),
    user=(),
    context=(Feature("hour", "categorical", 24), Feature("price", "numeric", 1)),
    event=(),
    labels=("click",),
    exposures=True,
    history=8,
)


class Bilinear(nn.Module):
    """Dot product of an item with the mean of the visible history, moved by clock and context."""

    def __init__(self) -> None:
        super().__init__()
        self.items = nn.Embedding(V, 6)
        self.hour = nn.Embedding(24, 6)
        self.dropout = nn.Dropout(0.5)

    def request(self, batch: Batch) -> Tensor:
        past, ahead = batch.history, batch.candidates
        row, prefix = catalogue.rows(batch).tolist(), ahead.prefix.tolist()
        starts = past.offsets.tolist()
        seen = [
            past.features["item"][starts[r] : starts[r] + p]
            for r, p in zip(row, prefix, strict=True)
        ]
        mean = torch.stack([self.items(items).sum(0) / (len(items) + 1) for items in seen])
        clock = (ahead.time % 7).float()[:, None] * ahead.features["price"][:, None]
        return self.dropout(mean + self.hour(ahead.features["hour"]) + 0.1 * clock)

    def loss(self, batch: Batch) -> Tensor:
        return -self.score(batch).mean()

    def score(self, batch: Batch) -> Tensor:
        return (self.request(batch) * self.items(batch.candidates.features["item"])).sum(-1)

    def cost(self, history: int, candidates: int) -> Cost:
        return Cost(0, self.items.weight.numel(), 2 * 6 * (history + candidates))


class FastBilinear(Bilinear):
    """The same model, with the promise that its score is one product."""

    def encode(self, batch: Batch) -> Tensor:
        return self.request(batch)

    def item_vectors(self) -> Tensor:
        return self.items.weight


class Preference(nn.Module):
    """Scores an item by a fixed list, best first; all others are tied at the bottom."""

    def __init__(self, best: list[int]) -> None:
        super().__init__()
        value = torch.zeros(V)
        value[torch.tensor(best)] = torch.arange(len(best), 0, -1).float()
        self.register_buffer("value", value)

    def loss(self, batch: Batch) -> Tensor:
        return self.score(batch).sum()

    def score(self, batch: Batch) -> Tensor:
        return self.get_buffer("value")[batch.candidates.features["item"]]

    def cost(self, history: int, candidates: int) -> Cost:
        return Cost(0, 0, history + candidates)


def make_batch(
    histories: list[list[int]],
    items: list[list[int]],
    *,
    label: list[float] | None = None,
    time: list[int] | None = None,
) -> Batch:
    flat = [item for row in items for item in row]
    past = [item for row in histories for item in row]
    offsets = lambda rows: torch.tensor([0, *map(len, rows)]).cumsum(0)  # noqa: E731
    prefix = [len(h) for h, row in zip(histories, items, strict=True) for _ in row]
    context = lambda n: {"hour": torch.arange(n) % 3, "price": torch.ones(n)}  # noqa: E731
    return Batch(
        user={"user_index": torch.arange(len(histories)) + 100},
        history=History(
            {"item": torch.tensor(past, dtype=torch.int64), **context(len(past))},
            torch.arange(len(past)),
            offsets(histories),
        ),
        candidates=Candidates(
            {"item": torch.tensor(flat), **context(len(flat))},
            torch.tensor(time or range(len(flat))),
            torch.tensor(prefix),
            {"click": torch.tensor(label or [1.0] * len(flat))},
            offsets(items),
        ),
    )


def random_batch(seed: int, rows: int = 5) -> Batch:
    generator = np.random.default_rng(seed)
    draw = lambda low, high: generator.integers(2, V, generator.integers(low, high)).tolist()  # noqa: E731
    return make_batch([draw(0, 9) for _ in range(rows)], [draw(1, 6) for _ in range(rows)])


@pytest.fixture
def model() -> FastBilinear:
    torch.manual_seed(0)
    return FastBilinear()


def slow(model: FastBilinear) -> Bilinear:
    twin = Bilinear()
    twin.load_state_dict(model.state_dict())
    return twin


def test_one_product_scores_like_the_catalogue_as_candidates(model: FastBilinear):
    batch = random_batch(1)
    first = torch.arange(len(batch.candidates.time))
    assert isinstance(model, Retriever)
    assert not isinstance(slow(model), Retriever)
    model.eval()
    fast = torch.cat([s for _, s in catalogue.scores(model, batch, first, V)])
    full = torch.cat([s for _, s in catalogue.scores(slow(model).eval(), batch, first, V)])
    torch.testing.assert_close(fast[:, 2:], full[:, 2:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("seen", ["kept", "removed"])
def test_both_kinds_of_model_give_equal_ranks_in_equal_order(
    model: FastBilinear, seen: protocol.Seen, monkeypatch: pytest.MonkeyPatch
):
    batches = [random_batch(seed) for seed in range(4)]
    fast = protocol.retrieval(model, batches, SCHEMA, seen)
    monkeypatch.setattr(catalogue, "PAIRS", 100)  # less than one request over the catalogue
    full = protocol.retrieval(slow(model), batches, SCHEMA, seen)
    for name in ("user", "target", "rank", "repeat", "top", "top_seen"):
        np.testing.assert_array_equal(getattr(fast, name), getattr(full, name), err_msg=name)


def test_targets_come_in_the_order_of_the_candidates(model: FastBilinear):
    batch = make_batch([[5, 6], [7]], [[9, 8, 9], [3, 2]])
    found = protocol.retrieval(model, [batch], SCHEMA)
    assert found.target.tolist() == [9, 8, 9, 3, 2]
    assert found.user.tolist() == [100, 100, 100, 101, 101]


def test_only_positive_candidates_are_ranked():
    batch = make_batch([[5]], [[7, 8, 9]], label=[0.0, 1.0, 0.0])
    assert protocol.retrieval(Preference([8]), [batch], SCHEMA).rank.tolist() == [1.0]


def test_padding_and_unseen_ids_are_no_items():
    # Everything ties: 38 real items, so the middle is 19.5.
    assert protocol.retrieval(Preference([0, 1]), [make_batch([[5]], [[7]])], SCHEMA).rank == [19.5]


def test_an_item_that_training_never_saw_is_a_miss_and_is_counted():
    found = protocol.retrieval(Preference([7]), [make_batch([[5]], [[1, 7]])], SCHEMA)
    assert found.rank.tolist() == [np.inf, 1.0]
    assert found.metrics["hr@10"] == 0.5
    assert (found.metrics["targets"], found.metrics["cold_targets"]) == (2, 1)


def test_the_softmax_loss_is_over_the_whole_catalogue_whatever_was_seen():
    """Hazard 11: of 38 items one has logit 2, one 1, the others 0; item 5 was seen."""
    total = np.log(np.exp(2) + np.exp(1) + 36)
    batch = make_batch([[5, 9]], [[1, 9, 5]])
    for seen in ("kept", "removed"):
        found = protocol.retrieval(Preference([7, 5]), [batch], SCHEMA, seen)
        np.testing.assert_allclose(found.loss, [np.nan, total, total - 1], rtol=1e-6)
        assert found.metrics["softmax_loss"] == pytest.approx(total - 0.5)
    cold = protocol.retrieval(Preference([7]), [make_batch([[5]], [[1]])], SCHEMA)
    assert "softmax_loss" not in cold.metrics


def test_both_families_have_the_same_softmax_loss_for_the_same_scores(model: FastBilinear):
    """Hazard 11: one product over all items, or every item as a candidate."""
    batches = [random_batch(seed) for seed in range(3)]
    fast, full = (protocol.retrieval(m, batches, SCHEMA) for m in (model, slow(model)))
    np.testing.assert_allclose(fast.loss, full.loss, rtol=1e-5)


def test_seen_items_are_kept_by_default_and_leave_on_demand():
    batch = make_batch([[5, 6]], [[7]])
    best = Preference([5, 6, 7, 8])
    assert protocol.retrieval(best, [batch], SCHEMA).rank == [3.0]
    removed = protocol.retrieval(best, [batch], SCHEMA, "removed")
    assert removed.rank == [1.0]
    assert removed.top[0, :2].tolist() == [7, 8]
    assert not removed.top_seen.any()


def test_a_repeated_target_stays_in_its_own_ranking():
    batch = make_batch([[5, 6]], [[6]])
    found = protocol.retrieval(Preference([5, 6]), [batch], SCHEMA, "removed")
    assert found.rank == [1.0]
    assert found.repeat == [True]
    assert 6 not in found.top


def test_events_beyond_the_prefix_are_not_seen():
    batch = make_batch([[5, 6, 7]], [[6]])
    early = replace(batch, candidates=replace(batch.candidates, prefix=torch.tensor([1])))
    assert protocol.retrieval(Preference([5, 6]), [early], SCHEMA, "removed").repeat == [False]


def test_a_request_shared_by_several_targets_is_scored_once():
    batch = make_batch([[5, 6]], [[7, 8, 9]], time=[4, 4, 4])
    shared = dict(batch.candidates.features, hour=torch.zeros(3, dtype=torch.int64))
    batch = replace(batch, candidates=replace(batch.candidates, features=shared))
    assert len(catalogue.distinct(batch, torch.arange(3)).first) == 1
    later = replace(batch, candidates=replace(batch.candidates, time=torch.tensor([4, 5, 4])))
    requests = catalogue.distinct(later, torch.arange(3))
    assert later.candidates.time[requests.first][requests.of].tolist() == [4, 5, 4]


def test_memory_is_bounded_by_candidate_history_pairs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(catalogue, "PAIRS", 300)
    largest = 0

    class Counting(Bilinear):
        def score(self, batch: Batch) -> Tensor:
            nonlocal largest
            events = batch.history.lengths[catalogue.rows(batch)] + 1
            largest = max(largest, int(events.sum()))
            return super().score(batch)

    protocol.retrieval(Counting(), [random_batch(2)], SCHEMA)
    assert 100 < largest <= 300


def test_a_catalogue_shorter_than_the_list_is_filled_with_padding():
    small = replace(SCHEMA, item=(Feature("item", "categorical", 5),))
    found = protocol.retrieval(Preference([4, 2, 3]), [make_batch([[2]], [[3]])], small)
    assert found.top.tolist() == [[4, 2, 3, 0, 0, 0, 0, 0, 0, 0]]
    assert found.top_seen[0, :3].tolist() == [False, True, False]


def test_no_target_at_all_is_said_not_scored():
    negative = make_batch([[5]], [[7]], label=[0.0])
    for batches in ([], [negative]):
        found = protocol.retrieval(Preference([7]), batches, SCHEMA)
        assert found.metrics == {"targets": 0, "cold_targets": 0}
        assert found.behaviour(np.ones(V, int)) == {}


def test_a_broken_model_is_refused():
    broken = Preference([7])
    broken.get_buffer("value")[9] = torch.nan
    with pytest.raises(ValueError, match="1 of 38 scores are NaN or infinite"):
        protocol.retrieval(broken, [make_batch([[5]], [[7]])], SCHEMA)
    with pytest.raises(ValueError, match="1 of 2 scores are NaN or infinite"):
        protocol.ranking(broken, [make_batch([[5]], [[7, 9]])], SCHEMA)


def test_ranking_reads_every_exposure_with_its_user():
    batches = [
        make_batch([[5], [6]], [[7, 8], [9]], label=[1.0, 0.0, 0.0]),
        make_batch([[5]], [[8, 7]], label=[1.0, 0.0]),
    ]
    found = protocol.ranking(Preference([7, 8]), batches, SCHEMA)
    assert found.user.tolist() == [100, 100, 101, 100, 100]
    assert found.label.tolist() == [1, 0, 0, 1, 0]
    assert found.score.tolist() == [2, 1, 0, 1, 2]
    assert found.metrics["auc"] == pytest.approx(4 / 6)  # 2 and 1 against 1, 0 and 2
    assert (found.metrics["exposures"], found.metrics["single_class_users"]) == (5, 1)


def test_evaluation_switches_dropout_off_and_restores_every_mode(model: Bilinear):
    model.train()
    model.hour.eval()
    first, again = (protocol.ranking(model, [random_batch(3)], SCHEMA).score for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (model.training, model.dropout.training, model.hour.training) == (True, True, False)
    assert isinstance(model, Ranker)


def test_predictions_survive_a_round_trip(model: FastBilinear, tmp_path):
    retrieval = protocol.retrieval(model, [random_batch(4)], SCHEMA)
    save(Predictions(retrieval, None), tmp_path)
    back = load(tmp_path)
    assert back.ranking is None
    assert isinstance(back.retrieval, Retrieval)
    np.testing.assert_array_equal(back.retrieval.rank, retrieval.rank)
    assert back.retrieval.metrics == retrieval.metrics
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.npz"]


def test_a_broken_predictions_file_is_named(tmp_path):
    (tmp_path / "predictions.npz").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(ValueError, match=r"predictions\.npz: broken"):
        load(tmp_path)
