"""A sum over all the past and a state that an event updates are the same model."""

import pytest
import torch

from recscale.models.forgetting import (
    MixtureConfig,
    NoForgettingConfig,
    PowerConfig,
    build_forgetting,
)
from recscale.models.generative.linear import LinearConfig, LinearState
from recscale.types import Catalogue, Feature, History, Schema

CLOCK = torch.tensor([0, 0, 10**3, 10**6, 10**6, 10**10, 10**11])
KIND = Feature("kind", "categorical", 3)
SCHEMA = Schema(
    (Feature("item", "categorical", 3), KIND), (), (), (), ("click",), exposures=False, history=7
)
CATALOGUE = Catalogue({"kind": torch.tensor([0, 1, 2])}, {}, torch.ones(3, dtype=torch.int64))


def make(config):
    made = build_forgetting(config.forgetting, config.heads, config.width, SCHEMA, CATALOGUE)
    return LinearState(config, made).eval()


@pytest.mark.parametrize("forgetting", [NoForgettingConfig(), MixtureConfig()])
@pytest.mark.parametrize("pieces", [[7], [1] * 7, [3, 4]])
def test_the_recurrent_form_equals_the_parallel_one(forgetting, pieces):
    torch.manual_seed(0)
    encoder = make(LinearConfig(width=8, forgetting=forgetting))
    x = torch.randn(7, 8)
    whole = encoder(x, History({}, CLOCK, torch.tensor([0, 7])))
    kept, found = None, []
    for part, time in zip(x.split(pieces), CLOCK.split(pieces), strict=True):
        states, kept = encoder.extend(part, time, kept)
        found.append(states)
    torch.testing.assert_close(torch.cat(found), whole, rtol=1e-5, atol=1e-5)


def test_the_state_does_not_grow():
    encoder = make(LinearConfig(width=8))
    _, one = encoder.extend(torch.randn(1, 8), CLOCK[:1], None)
    _, seven = encoder.extend(torch.randn(7, 8), CLOCK, None)
    assert one.nbytes == seven.nbytes
    # two blocks, eight time constants and the floor, two heads of width 4
    assert one.nbytes == 8 + 2 * 9 * 2 * 4 * 4 * 4


def test_the_parallel_form_is_the_sum_of_the_equation():
    torch.manual_seed(0)
    encoder = make(LinearConfig(width=4, heads=1, blocks=1))
    block, x, time = encoder.blocks[0], torch.randn(3, 4), torch.tensor([0, 10**5, 10**9])
    u, vqk = block._read(x)
    v, q, k = vqk.split(4, dim=1)

    def seen(i, j):
        decay = encoder.forgetting.curve((time[i] - time[j])[None] / 1000)[0, 0, 0].float()
        return decay * (q[i] @ k[j]) * v[j]

    mixed = torch.stack([sum(seen(i, j) for j in range(i + 1)) for i in range(3)])
    expected = encoder.norm(x + block.output(block.norm_out(mixed) * u))
    found = encoder(x, History({}, time, torch.tensor([0, 3])))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("forgetting", [PowerConfig(), MixtureConfig(by_category="kind")])
def test_a_curve_that_its_state_cannot_hold_is_refused(forgetting):
    with pytest.raises(ValueError, match="model.forgetting.kind: .* mixture without by_category"):
        make(LinearConfig(width=8, forgetting=forgetting))
