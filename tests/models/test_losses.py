import math

import pytest
import torch
import torch.nn.functional as F

from recscale.models import contrast as contrasting
from recscale.models.contrast import contrast
from recscale.models.ctr.clicks import click_loss, with_negatives
from recscale.models.embedding import Journal
from recscale.models.items import Items
from recscale.models.losses import (
    CalibratedBinary,
    FullSoftmax,
    MixedSoftmax,
    SampledSoftmax,
    calibrated_binary,
    draw,
    expected_draws,
    full_softmax,
    mixed_softmax,
    retrieval_loss,
    sampled_softmax,
)
from tests.models import plain

ALL = torch.arange(2, 40)


@pytest.fixture
def items(world) -> Items:
    torch.manual_seed(0)
    return Items(world.schema, world.catalogue, width=8)


def queries(count: int):
    return F.normalize(torch.randn(count, 8, generator=torch.Generator().manual_seed(1)), dim=1)


def test_sampling_every_item_is_the_full_softmax(items):
    query, target = queries(3) / 0.05, torch.tensor([2, 17, 39])
    sampled = sampled_softmax(query, target, ALL, items)
    torch.testing.assert_close(sampled, full_softmax(query, target, items.unit_table()))


def test_an_item_never_competes_with_itself(items):
    query, target = queries(1), torch.tensor([5])
    once = sampled_softmax(query, target, torch.tensor([9]), items)
    torch.testing.assert_close(sampled_softmax(query, target, torch.tensor([9, 5]), items), once)


def test_nothing_but_collisions_costs_nothing_and_has_a_gradient(items):
    query = queries(1).requires_grad_()
    loss = sampled_softmax(query, torch.tensor([5]), torch.tensor([5, 5]), items)
    loss.backward()
    assert loss.item() == 0.0
    assert query.grad.isfinite().all()


@pytest.mark.parametrize("size", [2**18, 7])
def test_a_softmax_piece_by_piece_is_the_plain_one_with_its_gradients(size, monkeypatch):
    monkeypatch.setattr(contrasting, "LOGITS", size)
    g = torch.Generator().manual_seed(0)
    target, ids = torch.tensor([3, 5, 3, 9]), torch.tensor([5, 5, 4, 3, 8, 9])
    shapes = [(4, 2), (4,), (6, 2), (6,)]
    query, own, rivals, shift = (
        torch.randn(shape, generator=g, dtype=torch.float64) * 5 for shape in shapes
    )
    inputs = [part.requires_grad_() for part in (query, own, rivals)]
    found = contrast(query, own, rivals, shift, target, ids)
    expected = plain.softmax(query, own, rivals, shift, target, ids)
    torch.testing.assert_close(found, expected)
    fast = torch.autograd.grad(found * 3, inputs)
    slow = torch.autograd.grad(expected * 3, inputs)
    torch.testing.assert_close(fast, slow)


OBJECTIVES = [FullSoftmax(), SampledSoftmax(), MixedSoftmax(), CalibratedBinary()]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_targets_outside_the_vocabulary_are_ignored(objective, items):
    query, target = queries(3), torch.tensor([4, 1, 9])
    torch.manual_seed(0)
    with_unseen = retrieval_loss(objective, query, target, items)
    torch.manual_seed(0)
    kept = torch.tensor([0, 2])
    torch.testing.assert_close(
        with_unseen, retrieval_loss(objective, query[kept], target[kept], items)
    )
    assert retrieval_loss(objective, query[:0], target[:0], items).item() == 0.0


@pytest.mark.parametrize("objective", [*OBJECTIVES, MixedSoftmax(uniform=0)])
def test_a_share_without_targets_reads_the_tables_as_often_as_one_with_them(objective, items):
    """Hazard 8: over several processes each read is a collective that all of them take part in."""
    reads = []
    for count in (0, 3):
        items.fields.tables.journal = Journal()
        loss = retrieval_loss(objective, queries(count), torch.tensor([4, 7, 9])[:count], items)
        loss.backward()
        reads.append(len(items.fields.tables.journal.reads))
    assert reads == [1, 1]


def test_draws_are_real_items_and_follow_the_global_seed():
    torch.manual_seed(0)
    first = draw(1000, 5, torch.device("cpu"))
    assert first.unique().tolist() == [2, 3, 4]
    torch.manual_seed(0)
    assert torch.equal(draw(1000, 5, torch.device("cpu")), first)


def test_negatives_share_the_request_of_their_positive(world):
    batch = world.batch([3, 2], [[3, 1], [2]])
    drawn = with_negatives(batch, 2, 40).candidates
    assert drawn.features["item"][::3].tolist() == batch.candidates.features["item"].tolist()
    assert drawn.prefix.tolist() == [3, 3, 3, 1, 1, 1, 2, 2, 2]
    assert drawn.time.view(3, 3).unique(dim=1).shape == (3, 1)
    assert drawn.offsets.tolist() == [0, 6, 9]


def test_a_click_model_that_knows_nothing_pays_the_log_of_its_choices(world):
    batch = world.batch([3], [[3, 1]])

    def know_nothing(asked):
        return torch.zeros(len(asked.candidates.prefix))

    torch.manual_seed(0)  # no collision among these few draws
    loss = click_loss(know_nothing, batch, world.schema, negatives=4)
    assert loss.item() == pytest.approx(math.log(2 if world.schema.exposures else 5))


def test_items_look_the_same_one_by_one_and_as_a_table(items):
    few = torch.tensor([3, 0, 1, 39, 3])
    torch.testing.assert_close(items(few), items.table()[few])
    torch.testing.assert_close(items.parts(few).sum(1), items.table()[few])
    torch.testing.assert_close(items.unit(few), items.unit_table()[few])
    many = few.repeat(20)
    torch.testing.assert_close(items(many), items.table()[many])


def test_an_item_is_its_id_and_its_features(items, world):
    lists = world.catalogue.multi["tags"]
    tags = lists.values[lists.offsets[9] : lists.offsets[10]]
    kind, price = (world.catalogue.single[name][9] for name in ("kind", "price"))
    tables = items.fields.tables.collection.embeddings
    expected = tables["item"].weight[9] + tables["kind"].weight[kind]
    expected = expected + price * items.fields.lines.slope[0] + items.fields.lines.level[0]
    if len(tags):
        expected = expected + items.bags.collection.embedding_bags["tags"].weight[tags].mean(0)
    torch.testing.assert_close(items(torch.tensor([9]))[0], expected)


def test_an_id_outside_its_vocabulary_is_named(items):
    with pytest.raises(ValueError, match="item has 40, got 7 to 40"):
        items.fields.tables(torch.tensor([[40, 7], [2, 2]]))


def test_draws_are_expected_by_size_and_by_popularity(items, world):
    objective = MixedSoftmax(uniform=19, in_batch=100)
    popularity = world.catalogue.popularity.clamp(min=1).float()
    found = expected_draws(objective, torch.tensor([5, 9]), items)
    expected = 19 / 38 + 100 * popularity[[5, 9]] / popularity[2:].sum()
    torch.testing.assert_close(found, expected)


def test_corrected_draws_estimate_the_sum_over_all_items(items):
    """Of targets that are as popular as the catalogue says, whichever the mix."""
    target = torch.repeat_interleave(ALL, (items.share[2:] * 10_000).round().long())
    query = queries(1).expand(len(target), -1) / 0.5
    full = full_softmax(query, target, items.unit_table())
    for uniform, in_batch in [(20_000, 0), (10_000, 10_000), (0, 20_000)]:
        torch.manual_seed(0)
        objective = MixedSoftmax(uniform=uniform, in_batch=in_batch)
        mixed = mixed_softmax(objective, query, target, items)
        torch.testing.assert_close(mixed, full, rtol=0.01, atol=0)


def test_binary_calibration_weighs_the_positive(items):
    query, target, negatives = queries(1), torch.tensor([5]), torch.tensor([9, 5, 20])
    vectors = items.unit_table()
    yes = F.softplus(-(query @ vectors[5])).sum()
    no = F.softplus(query @ vectors[[9, 20]].T).sum()
    plain_loss = calibrated_binary(0.0, query, target, negatives, items)
    torch.testing.assert_close(plain_loss, yes + no)
    calibrated = calibrated_binary(1.0, query, target, negatives, items)
    torch.testing.assert_close(calibrated, 3 / 37 * yes + no)  # three of 37 rivals are drawn


def test_a_softmax_against_nothing_is_refused():
    with pytest.raises(ValueError, match="both 0"):
        MixedSoftmax(uniform=0, in_batch=0)
