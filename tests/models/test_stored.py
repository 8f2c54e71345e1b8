"""Keys and values in fewer bits."""

from __future__ import annotations

import pytest
import torch

from recscale.models.generative.stored import nothing

NUMBERS = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
# Half a step of the largest number for whole numbers; eight bits of mantissa for bfloat16.
WORST = {"float32": 0.0, "bfloat16": 2**-8, "int8": 0.5 / 127, "int4": 0.5 / 7}
every = pytest.mark.parametrize("precision", WORST)


@every
def test_what_is_read_is_what_was_kept_to_half_a_step(precision):
    found = nothing(NUMBERS, precision).join(NUMBERS).read()
    largest = NUMBERS.abs().amax(-1, keepdim=True)
    assert ((found - NUMBERS).abs() <= WORST[precision] * largest * 1.0001).all()


@every
def test_events_kept_one_by_one_are_as_if_kept_at_once(precision):
    none = nothing(NUMBERS, precision)
    apart = none.join(NUMBERS[:, :2]).join(NUMBERS[:, 2:])
    assert torch.equal(apart.read(), none.join(NUMBERS).read())


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("float32", 2 * 5 * 32), ("bfloat16", 2 * 5 * 16), ("int8", 2 * 5 * 12), ("int4", 2 * 5 * 8)],
)
def test_fewer_bits_are_fewer_bytes(precision, expected):
    """Eight numbers a row, and four bytes for the step of each row of levels."""
    assert nothing(NUMBERS, precision).join(NUMBERS).nbytes == expected


@every
def test_zeros_stay_zeros(precision):
    zeros = torch.zeros(1, 2, 4)
    assert torch.equal(nothing(zeros, precision).join(zeros).read(), zeros)


def test_an_odd_width_has_no_pairs():
    with pytest.raises(ValueError, match="a head has 5"):
        nothing(torch.zeros(1, 1, 5), "int4")
