"""What tells the click models apart, each against its formula spelled out."""

from dataclasses import replace

import pytest
import torch

from recscale.models import DINConfig, DLRMConfig, FinalMLPConfig, LongDINConfig, build
from recscale.models.ctr.dlrm import Dots
from recscale.models.ctr.finalmlp import Bilinear, Gate
from recscale.models.ctr.long_din import SameCategory, SimHash
from recscale.models.ctr.pooled import Sizes


def test_dlrm_reads_the_product_of_every_pair_of_fields_once():
    torch.manual_seed(0)
    sizes = Sizes(width=2, items=2, own=4, shared=2)
    dots = Dots(DLRMConfig(width=2, hidden=(3,), dropout=0.0), sizes)
    own, shared = torch.randn(2, 4), torch.randn(1, 2)
    a, b, c = own[1, :2], own[1, 2:], shared[0]
    inputs = torch.stack([*(a + b + c), a @ b, a @ c, b @ c])
    expected = dots.output(dots.deep(inputs))
    torch.testing.assert_close(dots(own, shared, torch.tensor([0, 0]))[1:], expected)


def test_finalmlp_multiplies_the_ends_of_its_towers_head_by_head():
    torch.manual_seed(0)
    meet = Bilinear(4, 2)
    x, y = torch.randn(1, 4), torch.randn(1, 4)
    crossed = x[0, :2] @ meet.matrix[0] @ y[0, :2] + x[0, 2:] @ meet.matrix[1] @ y[0, 2:]
    expected = meet.linear(torch.cat([x, y], dim=1))[:, 0] + crossed
    torch.testing.assert_close(meet(x, y), expected)


def test_a_gate_that_says_nothing_leaves_inputs_as_they_are():
    gate = Gate(3, 2, 5)
    torch.nn.init.zeros_(gate.last.weight)
    torch.nn.init.zeros_(gate.last.bias)
    assert gate(torch.randn(4, 3)).eq(1.0).all()


def test_heads_that_do_not_divide_the_towers_are_refused():
    with pytest.raises(ValueError, match="hidden 16 is not a multiple of heads 3"):
        FinalMLPConfig(hidden=(16,), heads=3)


def test_keeping_every_event_is_din(world):
    torch.manual_seed(0)
    config = {"width": 8, "attention": 8, "hidden": (16,)}
    plain = build(DINConfig(**config), world.schema, world.catalogue).eval()
    long = build(LongDINConfig(keep=16, **config), world.schema, world.catalogue).eval()
    long.load_state_dict(plain.state_dict() | {"relevance.rotation": long.relevance.rotation})
    batch = world.batch([9, 0, 16], [[9, 4, 0], [0], [16, 1]])
    torch.testing.assert_close(long.score(batch), plain.score(batch))


def test_only_events_of_the_candidates_category_are_attended_to_newest_first(world):
    torch.manual_seed(0)
    selection = SameCategory(category="kind")
    config = LongDINConfig(width=8, keep=2, selection=selection)
    model = build(config, world.schema, world.catalogue).eval()
    wanted, keys = torch.tensor([3]), torch.tensor([[3, 2, 3, 3, 2, 3]])
    place, count = model._choose(wanted, keys, torch.tensor([5]))
    assert (place.tolist(), count.tolist()) == ([[3, 2]], [2])  # the event at 5 is not visible
    _, nothing = model._choose(torch.tensor([4]), keys, torch.tensor([5]))
    assert nothing.tolist() == [0]


def test_the_events_nearest_by_hash_are_kept_and_of_equals_the_newest(world):
    torch.manual_seed(0)
    config = LongDINConfig(width=8, keep=2, selection=SimHash(bits=2))
    model = build(config, world.schema, world.catalogue).eval()
    wanted = torch.tensor([[1.0, 1.0]])
    keys = torch.tensor([[[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]])
    place, count = model._choose(wanted, keys, torch.tensor([4]))
    assert (place.tolist(), count.tolist()) == ([[0, 2]], [2])


def test_a_category_that_items_do_not_have_is_named(world):
    selection = SameCategory(category="author")
    with pytest.raises(ValueError, match="no categorical author; they have kind"):
        build(LongDINConfig(selection=selection), world.schema, world.catalogue)


def test_finalmlp_needs_no_user_features(world):
    schema = replace(world.schema, user=())
    model = build(FinalMLPConfig(width=8, hidden=(16,)), schema, world.catalogue).eval()
    assert model.score(world.batch([3], [[3, 1]])).isfinite().all()
