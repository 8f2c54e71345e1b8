"""What holds for every kind of forgetting, and what each kind is."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from recscale.models import DINConfig, HSTUConfig, build, jagged
from recscale.models.clock import BUCKETS, age_seconds
from recscale.models.forgetting import (
    BucketConfig,
    ContentConfig,
    EventCountConfig,
    ExponentialConfig,
    Forgetting,
    MixtureConfig,
    NoForgetting,
    NoForgettingConfig,
    PowerConfig,
    StretchedConfig,
    Traits,
    WickelgrenConfig,
    build_forgetting,
    table,
)
from recscale.models.generative.attention import attend, pairs
from recscale.models.generative.hstu import HSTU
from recscale.models.generative.transformer import Transformer, TransformerConfig
from recscale.types import Catalogue, Feature, History, Schema

CURVES = [
    MixtureConfig(),
    ExponentialConfig(),
    PowerConfig(),
    WickelgrenConfig(),
    StretchedConfig(),
    BucketConfig(),
]
KINDS = [*CURVES, EventCountConfig(), ContentConfig(), NoForgettingConfig()]
TEN_YEARS = 315_576_000
AGES = torch.tensor([0.0, 0.01, 1, 59, 60, 3_600, 86_400, 1e7, TEN_YEARS, 1e10])

every_kind = pytest.mark.parametrize("config", KINDS, ids=lambda config: config.kind)
every_curve = pytest.mark.parametrize("config", CURVES, ids=lambda config: config.kind)

SCHEMA = Schema(
    item=(Feature("item", "categorical", 6), Feature("kind", "categorical", 4)),
    user=(Feature("user_id", "categorical", 5),),
    context=(),
    event=(),
    labels=("click",),
    exposures=True,
    history=8,
)
CATALOGUE = Catalogue({"kind": torch.tensor([0, 0, 2, 2, 3, 3])}, {}, torch.full((6,), 10))


def make(config, heads=2):
    torch.manual_seed(0)
    made = build_forgetting(config, heads, 3, SCHEMA, CATALOGUE)
    for weight in made.parameters():
        weight.data += 0.3 * torch.randn(weight.shape)
    return made


def weigh(kernel, age, items=None, users=None):
    """[Q, L] seconds, all events seen -> [H, Q, L]."""
    length = age.shape[1]
    features = {
        "item": torch.full((length,), 2) if items is None else torch.tensor(items),
        "user_id": torch.full((length,), 2) if users is None else torch.tensor(users),
    }
    offsets = torch.tensor([0, length])
    history = History(features, torch.zeros(length, dtype=torch.int64), offsets)
    generator = torch.Generator().manual_seed(1)
    content = torch.randn(length, 3, generator=generator)
    traits = kernel.traits(history, content).padded(jagged.layout(offsets))
    seen = torch.full((1, len(age)), length)
    return kernel(age[None], seen, traits)[0].expand(-1, *age.shape)


@every_kind
def test_weights_lie_in_zero_to_one_from_age_zero_to_ten_years_and_past_the_table(config):
    weight = weigh(make(config), AGES[:, None])
    assert weight.shape[1:] == (10, 1)
    assert (weight > 0).all()
    assert (weight <= 1).all()


@pytest.mark.parametrize("config", CURVES[:-1], ids=lambda config: config.kind)
def test_an_event_counts_in_full_now_and_never_more_than_when_it_was_younger(config):
    age = torch.cat([torch.zeros(1), torch.logspace(-3, 10, 20_000)])
    weight = weigh(make(config), age[:, None])[..., 0]
    assert weight[:, 0].tolist() == [1.0, 1.0]
    assert (weight.diff(dim=1) <= 0).all()
    assert (weight[:, -1] < 0.9).all()


@pytest.mark.parametrize("config", [EventCountConfig(), ContentConfig()], ids=lambda c: c.kind)
def test_forgetting_by_order_counts_the_newest_in_full_and_older_ones_less(config):
    kernel = make(config)
    weight = weigh(kernel, torch.zeros(1, 5))[:, 0]
    torch.testing.assert_close(weight[:, -1], torch.ones(2))
    assert (weight.diff(dim=1) > 0).all()
    # time is not read: the same events a year apart weigh the same
    assert torch.equal(weigh(kernel, torch.full((1, 5), 3e7))[:, 0], weight)


def test_an_event_not_yet_seen_does_not_change_the_weight_of_older_ones():
    for config in (EventCountConfig(), ContentConfig()):
        kernel, age = make(config), torch.zeros(1, 2, 4)
        history = History({}, torch.zeros(4), torch.tensor([0, 4]))
        traits = kernel.traits(history, torch.randn(4, 3)).padded(jagged.layout(history.offsets))
        both = kernel(age, torch.tensor([[4, 2]]), traits)
        alone = kernel(age[:, :1], torch.tensor([[2]]), traits)
        torch.testing.assert_close(both[0, :, 1, :2], alone[0, :, 0, :2])
        assert (alone[0, :, 0, 1] == 1).all()


@pytest.mark.parametrize("config", KINDS[:-1], ids=lambda config: config.kind)
def test_gradients_are_finite_at_age_zero_at_ten_years_and_for_logarithms(config):
    kernel = make(config)
    weight = weigh(kernel, AGES[:, None])
    (weight.log() + weight).sum().backward()
    assert all(part.grad is not None for part in kernel.parameters())
    assert all(part.grad.isfinite().all() for part in kernel.parameters())


def test_events_of_one_moment_weigh_the_same_and_a_clock_that_runs_backwards_counts_as_now():
    now = torch.tensor([1_700_000_000_000])
    then = now + torch.tensor([-5_000, -5_000, 0, 7_000])
    for config in CURVES[:-1]:
        weight = weigh(make(config), age_seconds(now[:, None], then))[:, 0]
        assert torch.equal(weight[:, 0], weight[:, 1])
        assert (weight[:, 2:] == 1).all()


@every_curve
def test_from_a_second_on_the_table_is_the_curve_to_one_part_in_thirty_thousand(config):
    kernel = make(config)
    age = torch.logspace(0, 9, 5_000)
    if config.kind == "bucket":  # it jumps at a whole half octave: look between
        age = torch.exp2(torch.arange(1, 25) / 2 + 0.25) - 1
    read = weigh(kernel, age[:, None])[..., 0]
    torch.testing.assert_close(read.double(), kernel.curve(age)[0], rtol=0, atol=3e-5)


def test_each_family_follows_its_formula():
    def curve(config, *shape):
        kernel = make(config, heads=1)
        kernel.shape.data = torch.tensor([shape], dtype=torch.float64)
        return kernel.curve(torch.tensor([100.0]))[0, 0, 0].item()

    inf, one = float("inf"), math.log(math.e - 1)  # softplus(one) = 1
    assert curve(ExponentialConfig(), -inf, math.log(50)) == pytest.approx(math.exp(-2))
    assert curve(ExponentialConfig(), 0, math.log(50)) == pytest.approx(0.5 + math.exp(-2) / 2)
    assert curve(PowerConfig(), -inf, math.log(50), one) == pytest.approx(1 / 3)
    assert curve(WickelgrenConfig(), -inf, math.log(50), one, math.log(100)) == pytest.approx(
        math.exp(-1) / 3
    )
    assert curve(StretchedConfig(), -inf, math.log(25), 0.0) == pytest.approx(math.exp(-2))
    two = MixtureConfig(components=2, fastest=10, slowest=100)
    expected = (math.exp(-10) + math.exp(-1) + 1) / 3
    assert curve(two, 0, 0, 0) == pytest.approx(expected)


def test_gradient_of_the_table_is_that_of_the_plain_mixture(monkeypatch):
    monkeypatch.setattr(table, "PIECE", 2)
    kernel, age = make(MixtureConfig(components=3)), torch.tensor([[0.0, 50, 7e3], [1e6, 1e8, 3]])
    scale = torch.rand(2, 2, 3)
    plain = (kernel.curve(age.flatten())[0].view(2, 2, 3) * scale).sum()
    (slow,) = torch.autograd.grad(plain, kernel.shape)
    (fast,) = torch.autograd.grad((weigh(kernel, age) * scale).sum(), kernel.shape)
    torch.testing.assert_close(fast, slow, rtol=1e-3, atol=1e-5)


@every_curve
def test_categories_and_users_have_curves_of_their_own(config):
    config = config.model_copy(update={"by_category": "kind", "by_user": True})
    kernel = make(config, heads=1)
    age = torch.full((1, 4), 5_000.0)
    weight = weigh(kernel, age, items=[2, 3, 4, 4], users=[2, 2, 2, 3])[0, 0]
    assert weight[0] == weight[1]
    assert len(weight[1:].unique()) == 3
    for place, (category, user) in enumerate([(2, 2), (2, 2), (3, 2), (3, 3)]):
        shape = kernel.shapes(torch.tensor([category]), torch.tensor([user]))
        alone = kernel.curves(shape.double(), age[0, :1].double())[0, 0, 0]
        assert weight[place].item() == pytest.approx(alone.item(), abs=1e-4)


def test_deviations_are_drawn_to_the_curve_of_all_by_the_prior():
    config = ExponentialConfig(by_category="kind", spread=2)
    kernel = make(config, heads=1)
    kernel.by_category.data = torch.tensor([[0.0, 0], [0, 0], [2, 0], [0, 2]])
    # (4 + 4) / (2 * 2^2) nats over the 60 events of training
    assert kernel.penalty().item() == pytest.approx(1 / 60)
    assert NoForgetting().penalty() == 0


def test_a_missing_category_or_user_is_named():
    with pytest.raises(ValueError, match="no categorical item feature colour; the log has kind"):
        make(PowerConfig(by_category="colour"))
    with pytest.raises(ValueError, match="by_user: needs features.user_id: true"):
        build_forgetting(PowerConfig(by_user=True), 1, 3, replace(SCHEMA, user=()), CATALOGUE)


def test_an_empty_range_is_refused():
    with pytest.raises(ValidationError, match="need 0 < fastest < slowest, got 9.0 and 3.0"):
        MixtureConfig(fastest=9, slowest=3)


class Stranger(Forgetting):
    """What a model without any forgetting would multiply by."""

    def traits(self, history, content):  # noqa: ARG002
        return Traits(torch.zeros(0), torch.zeros(0))

    def forward(self, age, seen, traits):  # noqa: ARG002
        return torch.ones(1, 1, 1, 1)


def test_turned_off_it_is_bit_identical_to_hstu_without_it():
    """Hazard 13."""
    torch.manual_seed(0)
    encoder = HSTU(HSTUConfig(width=8), 6, NoForgetting()).eval()
    history = History({}, torch.tensor([0, 10**6, 10**9]), torch.tensor([0, 1, 3]))
    x = torch.randn(3, 8)
    before = encoder(x, history)
    encoder.forgetting = Stranger()
    assert torch.equal(encoder(x, history), before)


def test_turned_off_it_is_bit_identical_to_din_without_it(world):
    """Hazard 13."""
    torch.manual_seed(0)
    model = build(DINConfig(width=8, attention=8), world.schema, world.catalogue).eval()
    batch = world.batch([9, 4], [[9, 3], [4]])
    before = model.score(batch)
    model.forgetting = Stranger()
    assert torch.equal(model.score(batch), before)


def test_hstu_without_a_bias_by_time_knows_time_through_forgetting_alone():
    torch.manual_seed(0)
    x, offsets = torch.randn(3, 8), torch.tensor([0, 3])
    early, late = (History({}, torch.tensor([0, 10**6, t]), offsets) for t in (10**7, 10**10))
    config = HSTUConfig(width=8, bias="position")
    blind = HSTU(config, 6, NoForgetting()).eval()
    assert torch.equal(blind(x, early), blind(x, late))
    forgetful = HSTU(config, 6, make(MixtureConfig())).eval()
    assert not torch.allclose(forgetful(x, early)[2], forgetful(x, late)[2])


def test_a_block_of_moments_weighs_as_it_does_among_all(world):
    """Attention may work block by block: the weights of a block depend on nothing else."""
    batch = world.batch([9, 4], [[9], [4]])
    for config in KINDS:
        kernel = build_forgetting(config, 2, 3, world.schema, world.catalogue)
        where = jagged.layout(batch.history.offsets)
        clock = jagged.pad(batch.history.time, where)
        age = age_seconds(clock[:, :, None], clock[:, None])
        traits = kernel.traits(batch.history, torch.randn(13, 3)).padded(where)
        seen = torch.arange(1, 10)[None]
        whole = kernel(age, seen, traits).expand(2, -1, 9, -1)
        block = kernel(age[:, 4:7], seen[:, 4:7], traits).expand(2, -1, 3, -1)
        assert torch.equal(whole[:, :, 4:7], block)


def test_the_prior_is_part_of_the_loss_of_both_families(world):
    for settings in (HSTUConfig, DINConfig):
        config = settings(width=8, forgetting=ExponentialConfig(by_category="kind"))
        torch.manual_seed(0)
        model = build(config, world.schema, world.catalogue).eval()
        kernel = model.forgetting if config.name == "din" else model.encoder.forgetting
        batch = world.batch([0], [[0, 0]])  # nothing in the history that could fade
        torch.manual_seed(1)
        before = model.loss(batch).item()
        kernel.by_category.data += 1
        torch.manual_seed(1)
        assert model.loss(batch).item() == pytest.approx(before + kernel.penalty().item())
        assert kernel.penalty().item() > 1e-4


def test_decay_multiplies_after_silu_in_hstu():
    """Hazard 4."""
    # q @ k is -1.278 for every event, where SiLU has its minimum: the planted place.
    score, age = -1.278, torch.tensor([[0.0, 1e3, 1e5, 1e7]])
    kernel = make(MixtureConfig(), heads=1)
    gate = weigh(kernel, age)[0, 0]
    one = torch.tensor([1.0, 0, 0, 0])
    vqk = torch.stack([torch.cat([v, score * one, one]) for v in torch.eye(4)])
    clock = 10**13 - (age[0].flip(0) * 1000).long()
    history = History({}, clock, torch.tensor([0, 4]))
    among = pairs(history, torch.zeros(4, 3), kernel, 4)
    weight = attend(vqk, torch.zeros(5 * BUCKETS), torch.ones(4), among, heads=1)[3].flip(0)
    assert (weight.abs().diff() < 0).all()
    torch.testing.assert_close(weight, F.silu(torch.tensor(score)) * gate)
    # Inside SiLU a weak match of +1 would grow with age again, on its way to the minimum.
    inside = F.silu(1.0 + gate.log() * 4).abs()
    assert not (inside.diff() < 0).all()


def test_decay_adds_its_log_under_a_softmax():
    """With equal logits attention is the decay itself, normalised."""
    torch.manual_seed(0)
    config = TransformerConfig(width=4, heads=1, blocks=1)
    kernel = make(MixtureConfig(), heads=1)
    encoder = Transformer(config, 4, kernel).eval()
    history = History({}, torch.tensor([0, 10**5, 10**8]), torch.tensor([0, 3]))
    (group,) = jagged.group(history.offsets, lambda _: 1).groups
    traits = kernel.traits(history, torch.randn(3, 4)).padded(group.where)
    decay = encoder._among(group, history.time, traits).decay[0, 0]
    weight = weigh(kernel, torch.tensor([[1e5, 1e5 - 100, 0]]))[0, 0]
    torch.testing.assert_close(decay[2].softmax(0), weight / weight.sum())
    assert decay[0, 1:].tolist() == [-math.inf, -math.inf]


def test_din_pools_each_event_by_its_weight_at_the_time_of_the_request(world):
    """Hazard 20: moving the request's clock fades the history, whatever its last event."""
    torch.manual_seed(0)
    config = DINConfig(width=8, attention=8, forgetting=ExponentialConfig())
    model = build(config, world.schema, world.catalogue).eval()
    batch = world.batch([3], [[3]])
    time = batch.history.time.clone()
    time[:2] = time[2]  # one moment, so that one weight multiplies the whole pool
    batch = replace(batch, history=replace(batch.history, time=time))
    pools = []
    for seconds in (0, 5_000):
        ahead = replace(batch.candidates, time=time[2:] + 1000 * seconds)
        asked = replace(batch, candidates=ahead)
        wanted, events = model.items(ahead.features["item"]), model.events(batch.history)
        pools.append(model._interest(wanted, events, asked))
    fraction = model.forgetting.curve(torch.tensor([5_000.0]))[0, 0, 0].float()
    torch.testing.assert_close(pools[1], pools[0] * fraction)
