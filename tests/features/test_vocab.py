import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recscale.features.vocab import Scale, Vocabulary
from recscale.types import UNSEEN


def test_ids_follow_sorted_training_values_and_the_rest_is_unseen():
    vocabulary = Vocabulary.fit(pl.Series([30, 10, 20, 10, None]))
    assert vocabulary.size == 5
    encoded = vocabulary.encode(pl.Series([10, 20, 30, 40, 15, None, 9]))
    assert encoded.tolist() == [2, 3, 4, UNSEEN, UNSEEN, UNSEEN, UNSEEN]


def test_text_is_encoded_like_numbers_are():
    vocabulary = Vocabulary.fit(pl.Series(["b", "a", "b"]))
    assert vocabulary.encode(pl.Series(["b", "c", None, "a"])).tolist() == [3, UNSEEN, UNSEEN, 2]


def test_a_column_of_nulls_has_an_empty_vocabulary():
    vocabulary = Vocabulary.fit(pl.Series([None, None], dtype=pl.Int64))
    assert vocabulary.encode(pl.Series([1, None])).tolist() == [UNSEEN, UNSEEN]


@pytest.mark.parametrize("width", [pl.Int64, pl.UInt64])
def test_ids_above_the_float32_range_stay_apart(width: pl.DataType):
    """Hazard 14: 16,777,216 and 16,777,217 are one number in float32."""
    values = pl.Series([16_777_216, 16_777_217], dtype=width)
    assert Vocabulary.fit(values).encode(values).tolist() == [2, 3]


@given(st.lists(st.integers(-5, 5), min_size=1), st.lists(st.integers(-9, 9)))
def test_integer_and_text_paths_agree(fitted: list[int], asked: list[int]):
    numbers = Vocabulary.fit(pl.Series(fitted, dtype=pl.Int64))
    by_search = numbers.encode(pl.Series(asked, dtype=pl.Int64))
    known = sorted(set(fitted))
    by_hand = [known.index(value) + 2 if value in known else UNSEEN for value in asked]
    assert by_search.tolist() == by_hand


def test_numbers_are_scaled_by_training_and_missing_is_the_mean():
    scale = Scale.fit(pl.Series([1.0, 3.0, None, float("nan")]))
    assert scale.mean == 2.0
    encoded = scale.encode(pl.Series([2.0, None, 2.0 + 2**0.5]))
    np.testing.assert_allclose(encoded, [0.0, 0.0, 1.0], rtol=1e-6)
    assert encoded.dtype == np.float32


def test_an_infinite_number_is_a_missing_one():
    scale = Scale.fit(pl.Series([1.0, 3.0, float("inf")]))
    assert scale.encode(pl.Series([float("-inf"), 2.0])).tolist() == [0.0, 0.0]


def test_a_constant_column_does_not_divide_by_zero():
    assert Scale.fit(pl.Series([4, 4])).encode(pl.Series([4, 5])).tolist() == [0.0, 1.0]
