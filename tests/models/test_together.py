"""Combiners: each by what it promises, on models small enough to check."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression

from recscale.evaluation.catalogue import one_candidate_each
from recscale.models import (
    DINConfig,
    DistilledConfig,
    FusionConfig,
    GateConfig,
    HSTUConfig,
    InformedConfig,
    PopularityConfig,
    RecentConfig,
    ShortlistConfig,
    build,
)
from recscale.models.ctr.clicks import with_negatives
from recscale.models.together.fusion import first_times, request_features
from recscale.models.together.informed import MATCH
from recscale.models.together.shortlist import with_items

HSTU, DIN = HSTUConfig(width=16, dropout=0.5), DINConfig(width=8, attention=8, hidden=(16,))
LENGTHS, PREFIXES = [5, 0, 12, 1], [[5, 5, 0, 3], [0, 0], [12, 11, 1], [1]]


def members(world, *configs):
    torch.manual_seed(0)
    return [build(config, world.schema, world.catalogue) for config in configs]


def combine(world, config, *configs):
    return build(config, world.schema, world.catalogue, members(world, *configs))


def fitted(model, batch, steps=400, lr=0.05):
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr)
    for _ in range(steps):
        optimiser.zero_grad()
        model.loss(batch).backward()
        optimiser.step()
    return model


def test_fused_clicks_are_a_logistic_regression_on_the_members_logits(world):
    if not world.schema.exposures:
        pytest.skip("without exposures there are no clicks to regress on")
    model = combine(world, FusionConfig(), PopularityConfig(), HSTU)
    batch = world.batch([8] * 30, [[8, 5, 3, 0]] * 30)
    logits = torch.stack([member.score(batch) for member in model.members], dim=1)
    label = batch.candidates.labels["click"]
    found = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(logits, label)
    fitted(model, batch, steps=3000)
    assert model.weights.weight.tolist() == pytest.approx(found.coef_[0].tolist(), abs=2e-3)
    assert model.bias.item() == pytest.approx(found.intercept_[0], abs=2e-3)


def test_fusion_learns_which_member_knows_what_was_chosen(world):
    if world.schema.exposures:
        pytest.skip("choices are made where there are no exposures")
    model = combine(world, FusionConfig(negatives=8), RecentConfig(), PopularityConfig())
    batch = world.batch([6] * 20, [[6, 6]] * 20)
    chosen = batch.history.features["item"].view(20, 6)[:, -1:].expand(-1, 2)  # the newest, again
    batch.candidates.features["item"].copy_(chosen.flatten())
    recent, popular = fitted(model, batch).weights.weight.tolist()
    assert recent > 1
    assert abs(popular) < recent


def test_a_gate_that_reads_nothing_yet_is_the_plain_fusion(world):
    parts = members(world, HSTU, DIN)
    batch = world.batch(LENGTHS, PREFIXES)
    gate, fusion = (
        build(config, world.schema, world.catalogue, parts)
        for config in (GateConfig(), FusionConfig())
    )
    torch.testing.assert_close(gate.score(batch), fusion.score(batch))


def test_a_gate_gives_all_candidates_of_a_request_the_same_weights(world):
    gate = combine(world, GateConfig(), HSTU, DIN)
    torch.nn.init.normal_(gate.weights.weight.weight)
    batch = world.batch([9], [[9, 9, 9]])
    batch.candidates.time.fill_(batch.candidates.time[0].item())
    weights = gate.weights(batch)
    assert torch.equal(weights, weights[:1].expand(3, -1))


def test_features_of_a_request_are_length_age_and_how_much_was_new(world):
    batch = world.batch([4, 0], [[4, 2, 0], [0]])
    batch.history.features["item"].copy_(torch.tensor([7, 7, 8, 7]))
    assert first_times(batch).tolist() == [True, False, True, False]
    found = request_features(batch, world.schema)
    # 4 and 2 of at most 16 events; the first of two events new, two of four.
    assert found[:, 0].tolist() == pytest.approx([0.5, (2 / 16) ** 0.5, 0, 0])
    assert found[:, 2].tolist() == pytest.approx([0.5, 0.5, 1, 1])
    assert found[2:, 1].tolist() == [1, 1]  # nothing happened yet: as old as can be
    ahead = batch.candidates
    assert 0 < found[0, 1] < 1
    later = replace(batch, candidates=replace(ahead, time=ahead.time + 10**11))
    assert request_features(later, world.schema)[0, 1] > found[0, 1]


def test_an_item_of_another_user_is_still_new(world):
    batch = world.batch([2, 2], [[2], [2]])
    batch.history.features["item"].copy_(torch.tensor([7, 8, 8, 7]))
    assert first_times(batch).all()


def test_members_do_not_learn_nor_drop_out(world):
    """Hazard 21."""
    model = combine(world, FusionConfig(), HSTU, DIN).train()
    batch = world.batch(LENGTHS, PREFIXES)
    before = [weight.clone() for weight in model.members.parameters()]
    assert torch.equal(model.score(batch), model.score(batch))
    fitted(model, batch, steps=3)
    assert all(map(torch.equal, before, model.members.parameters()))
    assert not torch.equal(model.weights.weight, torch.full((2,), 0.5))


def test_a_shortlist_ranks_what_was_retrieved_by_the_second_model(world):
    model = combine(world, ShortlistConfig(keep=5), HSTU, DIN).eval()
    batch = one_candidate_each(world.batch(LENGTHS, PREFIXES), torch.arange(10))
    lists = model.score_all(batch)
    generator, ranker = model.retriever.ranker, model.ranker.ranker
    cosine = (generator.encode(batch) @ generator.item_vectors().T)[:, 2:]
    kept = cosine.topk(5).indices + 2
    every = torch.arange(2, 40).expand(10, -1)
    logit = ranker.score(with_items(batch, every)).view(10, -1)
    for row in range(10):
        first = lists[row].topk(5).indices
        assert set(first.tolist()) == set(kept[row].tolist())
        assert torch.equal(first, kept[row][logit[row, kept[row] - 2].argsort(descending=True)])
        rest = lists[row, 2:].argsort(descending=True)[5:]
        assert torch.equal(rest, cosine[row].argsort(descending=True)[5:])
    assert lists[:, :2].max() <= lists[:, 2:].min()


def test_a_shortlist_scores_candidates_as_its_list_does(world):
    model = combine(world, ShortlistConfig(keep=5), HSTU, DIN).eval()
    batch = world.batch([9, 3], [[9] * 6, [3] * 6])
    score = model.score(batch)
    if world.schema.exposures:  # what was shown had been retrieved by another model
        assert torch.equal(score, model.ranker.ranker.score(batch))
        return
    lists = model.score_all(one_candidate_each(batch, torch.arange(12)))
    item = batch.candidates.features["item"]
    torch.testing.assert_close(score, lists[torch.arange(12), item], rtol=0, atol=1e-5)


def test_a_shortlist_of_the_whole_catalogue_is_the_second_model(world):
    model = combine(world, ShortlistConfig(keep=1000), HSTU, DIN).eval()
    batch = world.batch([9], [[9] * 8])
    alone, listed = model.ranker.ranker.score(batch), model.score(batch)
    assert torch.equal(alone.argsort(), listed.argsort())


def test_an_informed_model_reads_items_state_and_match_of_the_generative_one(world):
    model = combine(world, InformedConfig(ranker=DIN), HSTU).eval()
    batch = world.batch([6, 4], [[6, 3], [4, 0]])
    before = model.score(batch)
    for part in (model.ranker.items, model.ranker.context):
        for name, brought in part.named_modules():
            if "vectors." in name:
                kept = brought.weight.data.clone()
                brought.weight.data.zero_()
                assert not torch.allclose(model.score(batch), before), name
                brought.weight.data.copy_(kept)
    informed = model._informed(batch)
    generator = model.generator.ranker
    cosine = F.cosine_similarity(
        generator.encode(batch), generator.item_vectors()[batch.candidates.features["item"]]
    )
    torch.testing.assert_close(informed.candidates.features[MATCH], cosine * 4)  # sqrt of 16


def test_an_informed_model_trains_all_of_itself_and_nothing_of_the_generative_one(world):
    model = combine(world, InformedConfig(ranker=DIN), HSTU).train()
    model.loss(world.batch([9, 0, 14], [[9, 3, 0, 5], [0, 0], [14, 7, 2]])).backward()
    dead = [n for n, p in model.ranker.named_parameters() if p.grad is None or not p.grad.any()]
    # The past holds no state: what would read it there stays as it began.
    assert dead == ["event.vectors.generative_state.weight"]
    assert all(weight.grad is None for weight in model.generator.parameters())


def test_a_student_of_itself_learns_its_own_lesson_alone(world):
    torch.manual_seed(0)
    student = build(DIN, world.schema, world.catalogue).eval()
    config = DistilledConfig(student=DIN, share=0.5, negatives=4)
    model = build(config, world.schema, world.catalogue, [student]).eval()
    model.student.load_state_dict(student.state_dict())
    batch = world.batch(LENGTHS, PREFIXES)
    assert model._distance(batch).item() == pytest.approx(0, abs=1e-5)


def test_distance_to_the_teacher_is_the_softened_divergence(world):
    config = DistilledConfig(student=DIN, temperature=2.0, negatives=4)
    model = combine(world, config, HSTU).eval()
    batch = world.batch(LENGTHS, PREFIXES)
    torch.manual_seed(5)
    found = model._distance(batch).item()
    if world.schema.exposures:
        said, told = ((m.score(batch) / 2).sigmoid() for m in (model.student, model.teacher[0]))
        each = told * (told / said).log() + (1 - told) * ((1 - told) / (1 - said)).log()
        expected = 4 * each.mean().item()
    else:
        torch.manual_seed(5)
        drawn = with_negatives(batch, 4, world.schema.num_items)
        said, told = (
            (m.score(drawn) / 2).view(-1, 5).softmax(1) for m in (model.student, model.teacher[0])
        )
        expected = 4 * (told * (told / said).log()).sum(1).mean().item()
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_a_student_serves_without_its_teacher(world):
    model = combine(world, DistilledConfig(student=DIN), HSTU)
    alone = build(DIN, world.schema, world.catalogue)
    assert [f"student.{name}" for name in alone.state_dict()] == list(model.state_dict())
    assert model.cost(10, 3) == alone.cost(10, 3)


@pytest.mark.parametrize(
    ("config", "parts", "message"),
    [
        (FusionConfig(), [HSTU], "members: want two or more; got Generative"),
        (ShortlistConfig(), [HSTU], "members: want two, the first a generative model; got"),
        (ShortlistConfig(), [DIN, HSTU], "members: the first must be a generative model, got DIN"),
        (InformedConfig(ranker=DIN), [], "members: want one, a generative model; got none"),
        (DistilledConfig(student=DIN), [DIN, DIN], "members: want one, the teacher; got DIN, DIN"),
        (DIN, [HSTU], "members: want none: it stands alone; got Generative"),
    ],
)
def test_members_that_do_not_fit_are_refused_in_one_line(config, parts, message, world):
    with pytest.raises(ValueError, match=message):
        combine(world, config, *parts)
