"""Fast forms against the plain ones of the papers, and orders that can be checked by hand."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from recscale.models import DINConfig, PopularityConfig, RecentConfig, TransformerConfig, build
from recscale.models.ctr import din
from recscale.models.ctr.attention import AttentionUnit
from recscale.models.ctr.dcnv2 import Crosses
from recscale.models.forgetting import MixtureConfig, NoForgetting, NoForgettingConfig
from recscale.models.generative.attention import pairs
from recscale.models.generative.bias import RelativeBias, entries, lookup
from recscale.models.generative.hstu import Block, HSTUConfig
from recscale.models.tower import linear
from recscale.types import History
from tests.models.plain import attend


def test_lookup_has_the_gradient_of_plain_indexing():
    table = torch.randn(6, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([[0, 3, 3], [5, 0, 3]], dtype=torch.int32)
    weight = torch.randn(2, 3, dtype=torch.float64)
    (fast,) = torch.autograd.grad((lookup(table, index) * weight).sum(), table)
    (plain,) = torch.autograd.grad((table[index.long()] * weight).sum(), table)
    torch.testing.assert_close(lookup(table, index), table[index.long()])
    torch.testing.assert_close(fast, plain)


def test_bias_adds_position_and_time_and_hides_the_future():
    bias = RelativeBias(history=3)
    buckets = torch.tensor([[[0, 0], [7, 0]]], dtype=torch.int32)
    distance = torch.tensor([[0, -1], [1, 0]], dtype=torch.int32)
    found = bias.table()[entries(buckets, distance, 3).long()][0]
    assert found[1, 0] == bias.position[1] + bias.time[7]
    assert F.silu(found[0, 1] + 1000) == 0


def test_hstu_attention_is_equation_two():
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 1, 3, 2, generator=g) for _ in range(3))
    rab = torch.randn(1, 3, 3, generator=g)
    gate = torch.ones(3, 3).tril() / 4
    mixed = attend(q, k, v, rab, gate)[0, 0]
    for i in range(3):
        terms = [F.silu(q[0, 0, i] @ k[0, 0, j] + rab[0, i, j]) * v[0, 0, j] for j in range(i + 1)]
        torch.testing.assert_close(mixed[i], torch.stack(terms).sum(0) / 4)


def test_hstu_block_is_equations_one_and_three():
    torch.manual_seed(0)
    block = Block(HSTUConfig(width=4, heads=1), history=3).eval()
    x = torch.randn(2, 4)
    past = History({}, torch.zeros(2, dtype=torch.int64), torch.tensor([0, 2]))
    among = pairs(past, torch.zeros(2, 1), NoForgetting(), 3)
    u, v, q, k = F.silu(block.project(block.norm_in(x))).chunk(4, dim=1)
    bias = block.bias.time[0] + block.bias.position[torch.tensor([[[0, 1], [1, 0]]])]
    gate = torch.ones(2, 2).tril() / 3
    mixed = attend(q[None, None], k[None, None], v[None, None], bias, gate)[0, 0]
    expected = x + block.output(block.norm_out(mixed) * u)
    torch.testing.assert_close(block(x, among, torch.full((3,), 1 / 3)), expected)


def test_din_attention_equals_the_plain_form():
    torch.manual_seed(0)
    unit = AttentionUnit(width=6, hidden=5)
    candidate, past = torch.randn(2, 3, 6), torch.randn(2, 4, 6)
    c, p = torch.broadcast_tensors(candidate[:, :, None], past[:, None])  # [R, C, L, D]
    plain = unit.last(F.relu(unit.first(torch.cat([c, p, c - p, c * p], -1))))[..., 0]
    torch.testing.assert_close(unit(candidate, past), plain)


def test_dins_attention_unit_has_the_gradient_of_the_plain_formula():
    torch.manual_seed(1)
    unit = AttentionUnit(6, 5)
    candidate = torch.randn(2, 3, 6, requires_grad=True)
    past = torch.randn(2, 4, 6, requires_grad=True)
    wanted = torch.randn(2, 3, 4)
    c, p = torch.broadcast_tensors(candidate[:, :, None], past[:, None])
    plain = unit.last(F.relu(unit.first(torch.cat([c, p, c - p, c * p], -1))))[..., 0]
    inputs = [candidate, past, *unit.parameters()]
    expected = torch.autograd.grad((plain * wanted).sum(), inputs)
    found = torch.autograd.grad((unit(candidate, past) * wanted).sum(), inputs)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("forgetting", [NoForgettingConfig(), MixtureConfig()])
def test_din_interest_is_the_weighted_sum_over_visible_events(world, forgetting):
    """Hazard 20: age runs from the event to each candidate's own request."""
    torch.manual_seed(0)
    config = DINConfig(width=8, attention=4, hidden=(8,), forgetting=forgetting)
    model = build(config, world.schema, world.catalogue).eval()
    batch = world.batch([6], [[4]])
    candidate = model.items(batch.candidates.features["item"])
    past = model.items(batch.history.features["item"])
    past = (past + model.event(batch.history.features, 6).sum(1))[:4]
    c = candidate.expand(4, -1)
    hidden = F.relu(model.attention.first(torch.cat([c, past, c - past, c * past], dim=1)))
    age = (batch.candidates.time - batch.history.time[:4]).double() / 1000
    weight = (
        model.attention.last(hidden)
        * model.forgetting.of_clocks(age.float()[None], torch.tensor([4]))[0].T
    )
    interest = model._interest(candidate, model.events(batch.history), batch)
    torch.testing.assert_close(interest[0], (weight * past).sum(0))


def test_din_scores_do_not_depend_on_how_tiles_are_cut(world, monkeypatch):
    torch.manual_seed(0)
    model = build(DINConfig(width=8), world.schema, world.catalogue).eval()
    batch = world.batch([6, 3], [[6] * 9, [3, 1]])
    whole = model.score(batch)
    monkeypatch.setattr(din, "TILES", (2,))
    monkeypatch.setattr(din, "CELLS", 1)
    torch.testing.assert_close(model.score(batch), whole)


def test_crosses_are_equation_one():
    torch.manual_seed(0)
    crosses = Crosses(3, 2)
    x0 = torch.randn(1, 3)
    x1 = x0 * crosses.layers[0](x0) + x0
    row = torch.zeros(1, dtype=torch.int64)
    found = crosses(x0[:, :2], x0[:, 2:], row)
    torch.testing.assert_close(found, x0 * crosses.layers[1](x1) + x1)


def test_what_candidates_share_passes_a_layer_once_and_changes_nothing():
    torch.manual_seed(0)
    layer, own, shared = nn.Linear(5, 4), torch.randn(6, 2), torch.randn(3, 3)
    row = torch.tensor([0, 0, 2, 1, 1, 1])
    plain = layer(torch.cat([own, shared[row]], dim=1))
    torch.testing.assert_close(linear(layer, own, shared, row), plain)


def test_popularity_orders_by_count(world):
    model = build(PopularityConfig(), world.schema, world.catalogue)
    batch = world.batch([3], [[3] * 4])
    counts = world.catalogue.popularity[batch.candidates.features["item"]]
    torch.testing.assert_close(model.score(batch), counts.float().log1p())


def test_recent_ranks_own_items_newest_first_then_popular_ones(world):
    model = build(RecentConfig(), world.schema, world.catalogue)
    batch = world.batch([4, 3], [[4] * 4, [1, 1]])
    batch.history.features["item"].copy_(torch.tensor([5, 6, 5, 7, 8, 5, 6]))
    batch.candidates.features["item"].copy_(torch.tensor([6, 5, 7, 8, 8, 5]))
    popular = world.catalogue.popularity.float().log1p()
    below = popular / (popular.max() + 1)
    expected = torch.tensor([2, 3, 4, below[8], 1, below[5]])
    torch.testing.assert_close(model.score(batch), expected)


def test_floors_have_nothing_to_lose(world):
    for config in (PopularityConfig(), RecentConfig()):
        model = build(config, world.schema, world.catalogue)
        assert model.loss(world.batch([2], [[2]])).item() == 0.0


def test_user_features_reach_every_trained_score(world):
    model = build(DINConfig(width=8), world.schema, world.catalogue).eval()
    batch = world.batch([3, 3], [[3], [3]])
    older = replace(batch, user=batch.user | {"age": batch.user["age"] + torch.tensor([1.0, 0.0])})
    changed = model.score(older) != model.score(batch)
    assert changed.tolist() == [True, False]


@pytest.mark.parametrize("kind", [HSTUConfig, TransformerConfig])
def test_bf16_attention_has_no_nan_at_length_4096(kind, world):
    schema = replace(world.schema, history=4096)
    model = build(kind(width=8, heads=1, blocks=1), schema, world.catalogue)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(world.batch([4096], [[4096, 1, 0, 2000]]))
    loss.backward()
    assert loss.isfinite()
    assert all(weight.grad.isfinite().all() for weight in model.parameters())
