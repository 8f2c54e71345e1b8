import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from recscale.models import forgetting
from recscale.models.clock import BUCKETS
from recscale.models.forgetting import (
    MixtureConfig,
    NoForgetting,
    NoForgettingConfig,
    build_forgetting,
)
from recscale.models.generative.attention import attend, pairs
from recscale.models.generative.hstu import HSTU, HSTUConfig
from recscale.models.generative.transformer import Transformer, TransformerConfig
from recscale.types import History


def test_weight_is_one_now_and_never_rises():
    age = torch.cat([torch.zeros(1), torch.logspace(0, 10, 50)])
    weight = build_forgetting(MixtureConfig(), heads=2)(age)
    assert weight.shape == (51, 2)
    assert weight[0].tolist() == [1.0, 1.0]
    assert (weight.diff(dim=0) <= 0).all()
    assert (weight > 0).all()


def test_one_component_is_an_exponential_above_a_floor():
    mixture = build_forgetting(MixtureConfig(components=1, fastest=60, slowest=61), heads=1)
    weight = mixture(torch.tensor([0.0, 60.0, 1e9]))[:, 0]
    torch.testing.assert_close(weight, torch.tensor([1.0, 0.5 + 0.5 / torch.e, 0.5]))


def test_gradient_is_that_of_the_plain_mixture(monkeypatch):
    monkeypatch.setattr(forgetting, "PIECE", 2)
    mixture = build_forgetting(MixtureConfig(components=3), heads=2).double()
    age = torch.tensor([[0.0, 50.0, 7e3], [1e6, 1e8, 3.0]], dtype=torch.float64)
    weight = torch.rand(2, 3, 2, dtype=torch.float64)
    share = mixture.share.softmax(-1)
    curves = torch.cat([(age[..., None] * -mixture.rates).exp(), torch.ones(2, 3, 1)], dim=-1)
    plain = curves @ share.T
    torch.testing.assert_close(mixture(age), plain)
    (fast,) = torch.autograd.grad((mixture(age) * weight).sum(), mixture.share)
    (slow,) = torch.autograd.grad((plain * weight).sum(), mixture.share)
    torch.testing.assert_close(fast, slow)


def test_gradient_is_finite_at_age_zero_and_at_thirty_years():
    mixture = build_forgetting(MixtureConfig(), heads=1)
    mixture(torch.tensor([0.0, 1e9])).log().sum().backward()
    assert all(weight.grad.isfinite().all() for weight in mixture.parameters())


def test_an_empty_range_is_refused():
    with pytest.raises(ValidationError, match="need 0 < fastest < slowest, got 9.0 and 3.0"):
        MixtureConfig(fastest=9, slowest=3)


def test_no_forgetting_is_exactly_one():
    age = torch.tensor([0.0, 1e9])
    assert build_forgetting(NoForgettingConfig(), heads=2)(age).tolist() == [[1.0], [1.0]]


class Stranger(NoForgetting):
    """What a model without any forgetting would multiply by."""

    def gate(self, age):
        return age.new_ones(1, 1, 1, 1)


def test_turned_off_it_is_bit_identical_to_hstu_without_it():
    """Hazard 13."""
    torch.manual_seed(0)
    encoder = HSTU(HSTUConfig(width=8), history=6).eval()
    history = History({}, torch.tensor([0, 10**6, 10**9]), torch.tensor([0, 1, 3]))
    x = torch.randn(3, 8)
    before = encoder(x, history)
    encoder.forgetting = Stranger()
    assert torch.equal(encoder(x, history), before)


def test_decay_multiplies_after_silu_in_hstu():
    """Hazard 4."""
    # q @ k is -1.278 for every event, where SiLU has its minimum: the planted place.
    score, age = -1.278, torch.tensor([0.0, 1e3, 1e5, 1e7])
    mixture = build_forgetting(MixtureConfig(), heads=1)
    one = torch.tensor([1.0, 0, 0, 0])
    vqk = torch.stack([torch.cat([v, score * one, one]) for v in torch.eye(4)])
    clock = 10**13 - (age * 1000).long()
    among = pairs(clock.flip(0), torch.tensor([0, 4]), mixture, 4)
    table = torch.zeros(5 * BUCKETS)
    weight = attend(vqk, table, torch.ones(4), among, heads=1)[3].flip(0)
    assert (weight.abs().diff() < 0).all()
    torch.testing.assert_close(weight, F.silu(torch.tensor(score)) * mixture(age)[:, 0])
    # Inside SiLU a weak match of +1 would grow with age again, on its way to the minimum.
    inside = F.silu(1.0 + mixture(age)[:, 0].log() * 4).abs()
    assert not (inside.diff() < 0).all()


def test_decay_adds_its_log_under_a_softmax():
    torch.manual_seed(0)
    config = TransformerConfig(width=4, heads=1, blocks=1, forgetting=MixtureConfig())
    encoder = Transformer(config, history=4).eval()
    clock = torch.tensor([[0, 10**5, 10**8]])
    decay = encoder.forgetting.logits(clock)
    age = torch.tensor([10**5, 10**8, 10**8 - 10**5]) / 1000
    expected = encoder.forgetting(age)[:, 0].log()
    found = torch.stack([decay[0, 0, 1, 0], decay[0, 0, 2, 0], decay[0, 0, 2, 1]])
    torch.testing.assert_close(found, expected)
