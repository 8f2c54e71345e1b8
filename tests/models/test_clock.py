import torch

from recscale.models.clock import BUCKETS, age_seconds, bucket, pairwise_age

MOMENT = 1_700_000_000_000


def test_ages_keep_milliseconds_where_float32_would_lose_minutes():
    """Hazard 14: subtracted before any cast."""
    now = torch.tensor([MOMENT + 1_500, MOMENT, MOMENT + 1])
    then = torch.tensor([MOMENT, MOMENT + 9, MOMENT])
    assert age_seconds(now, then).tolist() == [1.5, 0.0, torch.tensor(0.001).item()]


def test_pairwise_age_is_row_minus_column():
    clock = torch.tensor([[MOMENT, MOMENT + 2_000]])
    assert pairwise_age(clock).tolist() == [[[0.0, 0.0], [2.0, 0.0]]]


def test_buckets_are_half_octaves():
    seconds = torch.tensor([0.0, 0.49, 0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 3600.0, 1e30])
    assert bucket(seconds).tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 23, BUCKETS - 1]


def test_buckets_never_fall_as_age_grows():
    assert (bucket(torch.logspace(-3, 10, 500)).diff() >= 0).all()
