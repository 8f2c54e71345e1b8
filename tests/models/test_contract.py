"""What every ranker must honour, whatever its architecture."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from recscale.evaluation.catalogue import one_candidate_each
from recscale.models import (
    AnyModelConfig,
    DCNv2Config,
    DINConfig,
    DistilledConfig,
    DLRMConfig,
    FinalMLPConfig,
    FusionConfig,
    GateConfig,
    HSTUConfig,
    InformedConfig,
    LinearConfig,
    LongDINConfig,
    MixerConfig,
    PopularityConfig,
    RecentConfig,
    ShortlistConfig,
    TransformerConfig,
    build,
    is_trained,
)
from recscale.models.ctr.long_din import SameCategory
from recscale.models.forgetting import (
    ContentConfig,
    EventCountConfig,
    ExponentialConfig,
    MixtureConfig,
    NoForgettingConfig,
    PowerConfig,
)
from recscale.models.losses import CalibratedBinary, FullSoftmax, MixedSoftmax
from recscale.types import Lister, Ranker, Retriever

TRAINED: dict[str, AnyModelConfig] = {
    "hstu": HSTUConfig(width=16),
    "hstu-forgetting": HSTUConfig(width=16, forgetting=MixtureConfig()),
    "hstu-by-past": HSTUConfig(width=16, divide_by="past"),
    "mixer": MixerConfig(width=16),
    "mixer-forgetting": MixerConfig(width=16, forgetting=MixtureConfig()),
    "linear": LinearConfig(width=16, forgetting=NoForgettingConfig()),
    "linear-forgetting": LinearConfig(width=16),
    "transformer": TransformerConfig(width=16),
    "transformer-full": TransformerConfig(width=16, objective=FullSoftmax()),
    "transformer-mixed": TransformerConfig(width=16, objective=MixedSoftmax()),
    "transformer-gbce": TransformerConfig(width=16, objective=CalibratedBinary()),
    "hstu-by-kind": HSTUConfig(
        width=16, bias="position", forgetting=PowerConfig(by_category="kind")
    ),
    "transformer-forgetting": TransformerConfig(width=16, forgetting=MixtureConfig()),
    "transformer-count": TransformerConfig(width=16, forgetting=EventCountConfig()),
    "din": DINConfig(width=8, attention=8, hidden=(16,)),
    "din-forgetting": DINConfig(width=8, attention=8, hidden=(16,), forgetting=MixtureConfig()),
    "din-long-simhash": LongDINConfig(width=8, attention=8, hidden=(16,), keep=4),
    "din-long-category": LongDINConfig(
        width=8, attention=8, hidden=(16,), keep=4, selection=SameCategory(category="kind")
    ),
    "dlrm": DLRMConfig(width=8, hidden=(16,)),
    "finalmlp": FinalMLPConfig(width=8, hidden=(16,), gate=8),
    "din-by-kind": DINConfig(
        width=8, attention=8, hidden=(16,), forgetting=ExponentialConfig(by_category="kind")
    ),
    "din-content": DINConfig(width=8, attention=8, hidden=(16,), forgetting=ContentConfig()),
    "dcnv2": DCNv2Config(width=8, hidden=(16,)),
    "dcnv2-parallel": DCNv2Config(width=8, hidden=(16,), structure="parallel"),
}
FLOORS: dict[str, AnyModelConfig] = {"popularity": PopularityConfig(), "recent": RecentConfig()}
HSTU, DIN = TRAINED["hstu"], TRAINED["din"]
# Combiners, each with the members that it is built from.
COMBINED: dict[str, tuple[AnyModelConfig, list[AnyModelConfig]]] = {
    "fusion": (FusionConfig(), [HSTU, DIN]),
    "fusion-alike": (FusionConfig(), [HSTU, HSTU]),
    "gate": (GateConfig(), [HSTU, DIN, RecentConfig()]),
    "shortlist": (ShortlistConfig(keep=7), [HSTU, DIN]),
    "informed-din": (InformedConfig(ranker=TRAINED["din"]), [HSTU]),
    "informed-dcnv2": (InformedConfig(ranker=TRAINED["dcnv2"]), [TRAINED["transformer"]]),
    "distilled-din": (DistilledConfig(student=TRAINED["din"]), [HSTU]),
    "distilled-hstu": (DistilledConfig(student=TRAINED["hstu"]), [DIN]),
}
DOTS = {"fusion": 1, "fusion-alike": 2, "gate": 1, "distilled-hstu": 1}  # generative models inside
GENERATIVE = ("hstu", "transformer", "mixer", "linear")
RETRIEVERS = [name for name in TRAINED if name.startswith(GENERATIVE)]
CLOCKED = [
    name for name in TRAINED if name.startswith(("hstu", "mixer")) or name.endswith("forgetting")
]

every_model = pytest.mark.parametrize("name", [*TRAINED, *FLOORS, *COMBINED])
trained = pytest.mark.parametrize("name", TRAINED)
retrievers = pytest.mark.parametrize("name", RETRIEVERS)

LENGTHS = [5, 0, 12, 1]
PREFIXES = [[5, 5, 0, 3], [0, 0], [12, 11, 1], [1]]


def make(name, world, seed=0) -> Ranker:
    torch.manual_seed(seed)
    alone: tuple[AnyModelConfig | None, list[AnyModelConfig]] = ((TRAINED | FLOORS).get(name), [])
    config, parts = COMBINED.get(name, alone)
    members = [build(part, world.schema, world.catalogue) for part in parts]
    model = build(config, world.schema, world.catalogue, members).eval()
    assert isinstance(model, nn.Module)
    return model


def close(left, right):
    torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-5)


@every_model
def test_every_model_is_a_ranker_and_only_generative_ones_are_retrievers(name, world):
    model = make(name, world)
    assert isinstance(model, Ranker)
    assert isinstance(model, Retriever) == (name in (*RETRIEVERS, "distilled-hstu"))
    assert is_trained(model) == (name not in (*FLOORS, "shortlist"))


@every_model
def test_score_has_one_finite_value_per_candidate(name, world):
    score = make(name, world).score(world.batch(LENGTHS, PREFIXES))
    assert score.shape == (10,)
    assert score.isfinite().all()


@every_model
def test_score_does_not_depend_on_neighbours_in_batch(name, world, one_row):
    """Hazard 3: neighbours of other lengths, which pad a row by as many events."""
    model, batch = make(name, world), world.batch(LENGTHS, PREFIXES)
    alone = torch.cat([model.score(one_row(batch, b)) for b in range(len(LENGTHS))])
    close(model.score(batch), alone)


@every_model
def test_score_does_not_depend_on_extra_padding(name, world, one_row):
    """Hazard 3: beside the longest row the shortest is padded by 15 events and 6 candidates."""
    model, batch = make(name, world), world.batch([1, 16], [[1, 0], [16] * 8])
    close(model.score(batch)[:2], model.score(one_row(batch, 0)))


@every_model
def test_score_follows_candidates_when_shuffled(name, world, reorder):
    """Hazard 6."""
    model, batch = make(name, world), world.batch([9], [[9, 0, 4, 9, 7]])
    order = torch.tensor([4, 2, 0, 1, 3])
    close(model.score(reorder(batch, order)), model.score(batch)[order])


@every_model
def test_future_events_do_not_change_past_scores(name, world):
    """Hazard 5."""
    model, batch = make(name, world), world.batch([9], [[4, 4, 2, 0]])
    past = batch.history
    features = {key: values.clone() for key, values in past.features.items()}
    features["item"][4:] = batch.candidates.features["item"][0]
    features["rating"][4:] = 50.0
    time = past.time.clone()
    time[4:] += 10**9
    changed = replace(batch, history=replace(past, features=features, time=time))
    close(model.score(changed), model.score(batch))


@every_model
def test_candidates_do_not_see_each_other_nor_their_labels(name, world, reorder):
    model, batch = make(name, world), world.batch([6], [[6, 6, 3]])
    ahead = batch.candidates
    flipped = replace(ahead, labels={"click": 1 - ahead.labels["click"]})
    close(model.score(replace(batch, candidates=flipped)), model.score(batch))
    first = replace(reorder(batch, torch.tensor([0])).candidates, offsets=torch.tensor([0, 1]))
    close(model.score(replace(batch, candidates=first)), model.score(batch)[:1])


@every_model
def test_a_batch_without_any_history_is_scored(name, world):
    assert make(name, world).score(world.batch([0, 0], [[0], [0, 0]])).isfinite().all()


@every_model
def test_a_batch_without_candidates_gives_no_scores_and_no_loss(name, world):
    model, batch = make(name, world), world.batch([3, 1], [[], []])
    assert model.score(batch).shape == (0,)
    if not world.schema.exposures:
        assert model.loss(batch).item() == 0.0


@every_model
def test_unseen_items_are_scored(name, world):
    batch = world.batch([4], [[4, 2]])
    batch.history.features["item"][1] = 1
    batch.candidates.features["item"][0] = 1
    model = make(name, world)
    assert model.score(batch).isfinite().all()
    assert model.loss(batch).isfinite()


@every_model
def test_state_gives_the_same_scores_to_a_fresh_model(name, world):
    model, batch = make(name, world), world.batch(LENGTHS, PREFIXES)
    fresh = make(name, world, seed=1)
    fresh.load_state_dict(model.state_dict())
    torch.testing.assert_close(fresh.score(batch), model.score(batch), rtol=0, atol=0)


@every_model
def test_cost_counts_every_parameter(name, world):
    model = make(name, world)
    cost = model.cost(history=10, candidates=3)
    total = sum(weight.numel() for weight in model.parameters())
    assert cost.dense_params + cost.embedding_params == total


@trained
def test_vocabularies_are_what_counts_as_embedding(name, world):
    width = TRAINED[name].width
    rows = 40 + 5 + 7 + 4 + 26 + 26 + 4  # item, kind, tags; country; hour twice; action
    assert make(name, world).cost(10, 3).embedding_params == rows * width


@every_model
@pytest.mark.parametrize(("history", "candidates"), [(16, 1), (3, 50)])
def test_cost_counts_the_flops_of_one_request(name, world, history, candidates):
    model, batch = make(name, world), world.batch([history], [[history] * candidates])
    # The counter knows the products of attention, not the fused kernel of a CPU.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        if isinstance(model, Lister):  # what serves a request is the list
            model.score_all(one_candidate_each(batch, torch.tensor([0])))
        else:
            model.score(batch)
    # Nor does it see that a row-wise dot product is one.
    dots = 2 * candidates * 16 * (DOTS.get(name) or name in RETRIEVERS)
    told = model.cost(history, candidates).flops_per_request
    assert told == pytest.approx(counter.get_total_flops() + dots, rel=0.03)


@trained
def test_can_memorise_one_batch(name, world):
    model, batch = make(name, world), world.batch([4, 6, 5], [[4, 2], [6, 3], [5, 0]])
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    first = model.loss(batch).item()
    for _ in range(80):
        optimiser.zero_grad()
        loss = model.loss(batch)
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.3 * first


@trained
def test_gradient_reaches_every_parameter(name, world):
    model = make(name, world).train()
    model.loss(world.batch([9, 0, 14], [[9, 3, 0, 5], [0, 0], [14, 7, 2]])).backward()
    dead = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


@trained
def test_same_seed_gives_the_same_loss(name, world):
    model, batch = make(name, world).train(), world.batch(LENGTHS, PREFIXES)
    losses = []
    for _ in range(2):
        torch.manual_seed(3)
        losses.append(model.loss(batch).item())
    assert losses[0] == losses[1]


@trained
def test_one_second_in_the_request_matters(name, world):
    """Hazard 20: the request's own clock is read."""
    model, batch = make(name, world), world.batch([3], [[3]])
    time = batch.history.time[-1:]
    now, later = (
        model.score(replace(batch, candidates=replace(batch.candidates, time=time + ms)))
        for ms in (0, 1000)
    )
    assert (now != later).all()


@pytest.mark.parametrize("name", CLOCKED)
def test_one_second_between_events_matters(name, world):
    model, batch = make(name, world), world.batch([3], [[3]])
    past = batch.history
    batch = replace(batch, candidates=replace(batch.candidates, time=past.time[-1:]))
    first, second = (
        replace(past, time=past.time[-1] - torch.tensor([ms, 0, 0])) for ms in (1000, 2000)
    )
    scores = [model.score(replace(batch, history=history)) for history in (first, second)]
    assert (scores[0] != scores[1]).all()


@retrievers
def test_item_vectors_rank_like_scores(name, world):
    model, batch = make(name, world), world.batch([7], [[7] * 38])
    batch.candidates.features["item"].copy_(torch.arange(2, 40))
    batch.candidates.features["hour"].fill_(5)
    batch.candidates.time.fill_(batch.candidates.time[0].item())
    product = (model.encode(batch) @ model.item_vectors().T)[0, 2:]
    # With exposures, score says whether the user acts on what is shown: another question.
    same = product.argsort().tolist() == model.score(batch).argsort().tolist()
    assert same is not world.schema.exposures
    if same:  # logits, not only an order: a loss is read from them
        close(product, model.score(batch))


@retrievers
def test_encoding_does_not_read_the_candidate(name, world):
    model, batch = make(name, world), world.batch(LENGTHS, PREFIXES)
    before = model.encode(batch)
    batch.candidates.features["item"].fill_(2)
    close(model.encode(batch), before)


@retrievers
def test_a_row_longer_than_the_schema_allows_is_refused(name, world):
    with pytest.raises(ValueError, match="a row of 17 events; the model reads 16"):
        make(name, world).encode(world.batch([17], [[16]]))
