"""Tiles against the plain form: the same numbers, the same gradients, however they are cut."""

import pytest
import torch
import torch.nn.functional as F

from recscale.models.forgetting import (
    ContentConfig,
    EventCountConfig,
    MixtureConfig,
    NoForgettingConfig,
    build_forgetting,
)
from recscale.models.generative import attention
from recscale.models.generative.hstu import HSTU, HSTUConfig
from recscale.types import History
from tests.models import plain
from tests.models.conftest import make_world

FADING = [
    NoForgettingConfig(),
    MixtureConfig(),
    MixtureConfig(by_category="kind"),
    EventCountConfig(),
    ContentConfig(),
]
LENGTHS = [5, 0, 12, 1, 12, 7]


def past(lengths: list[int]) -> History:
    g = torch.Generator().manual_seed(1)
    clocks = [torch.randint(0, 10**10, (n,), generator=g).sort().values for n in lengths]
    offsets = F.pad(torch.tensor(lengths).cumsum(0), (1, 0))
    items = torch.randint(2, 40, (sum(lengths),), generator=g)
    return History({"item": items}, torch.cat(clocks), offsets)


def encoder(**settings) -> HSTU:
    torch.manual_seed(0)
    config, world = HSTUConfig(width=8, **settings), make_world(exposures=True)
    kernel = build_forgetting(config.forgetting, config.heads, 8, world.schema, world.catalogue)
    made = HSTU(config, 16, kernel).eval()
    for block in made.blocks:  # else biases are too small to be missed
        torch.nn.init.normal_(block.bias.position)
        torch.nn.init.normal_(block.bias.time)
    return made


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("divide_by", ["history", "past"])
@pytest.mark.parametrize("forgetting", FADING)
@pytest.mark.parametrize(("cells", "queries"), [(2**17, 48), (40, 3), (1, 1)])
def test_tiles_have_the_values_and_gradients_of_the_plain_form(
    heads, divide_by, forgetting, cells, queries, monkeypatch
):
    monkeypatch.setattr(attention, "CELLS", cells)
    monkeypatch.setattr(attention, "QUERIES", queries)
    made = encoder(heads=heads, divide_by=divide_by, forgetting=forgetting).double()
    history = past(LENGTHS)
    x = torch.randn(len(history.time), 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(len(x), 8, dtype=torch.float64)
    found, expected = made(x, history), plain.hstu(made, x, history)
    torch.testing.assert_close(found, expected)
    inputs = [x, *made.parameters()]
    fast = torch.autograd.grad((found * weight).sum(), inputs)
    slow = torch.autograd.grad((expected * weight).sum(), inputs)
    for one, other in zip(fast, slow, strict=True):
        # float32 tolerance: the histogram of the bias is summed in float32
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_pairs_are_counted_as_tiles_cut_them(monkeypatch):
    monkeypatch.setattr(attention, "QUERIES", 3)
    assert attention.num_pairs(7) == 3 * 3 + 3 * 6 + 1 * 7
    assert attention.num_pairs(0) == 0
    history = past([7])
    found = attention.pairs(history, torch.zeros(7, 8), encoder().forgetting, 16)
    assert sum(tile.bias.numel() for tile in found.tiles[0]) == attention.num_pairs(7)


def test_a_score_from_the_future_is_exactly_zero():
    made, history = encoder(heads=1), past([4])
    x = torch.randn(4, 8)
    before = made(x, history)[:2]
    x[2:] = 1e6
    assert torch.equal(made(x, history)[:2], before)
