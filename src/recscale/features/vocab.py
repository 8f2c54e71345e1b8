"""Raw values to ids, fitted on the training part only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from recscale.types import UNSEEN

FIRST = UNSEEN + 1  # the id of the smallest value


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The distinct values of a column, sorted: value k has id k + FIRST. Null is UNSEEN.

    Sorting, not order of appearance, so that ids depend on the set of training values alone.
    """

    values: pl.Series

    @classmethod
    def fit(cls, column: pl.Series) -> Vocabulary:
        """The vocabulary of a column of training values."""
        return cls(column.drop_nulls().unique().sort())

    @property
    def size(self) -> int:
        """Ids in use, PADDING and UNSEEN included."""
        return len(self.values) + FIRST

    def encode(self, column: pl.Series) -> np.ndarray:
        """[R] values -> [R] int32 ids; what training did not hold is UNSEEN."""
        if len(self.values) == 0:
            return np.full(len(column), UNSEEN, dtype=np.int32)
        if column.dtype.is_integer() and self.values.dtype.is_integer():
            return self._encode_integers(column)
        table = pl.DataFrame({"value": self.values, "id": np.arange(len(self.values)) + FIRST})
        asked = column.rename("value").cast(self.values.dtype, strict=False).to_frame()
        found = asked.join(table, on="value", how="left", maintain_order="left")["id"]
        return found.fill_null(UNSEEN).cast(pl.Int32).to_numpy()

    def _encode_integers(self, column: pl.Series) -> np.ndarray:
        """Binary search: no hash table, so 20 million rows stay within a few hundred MB."""
        known = self.values.to_numpy()
        missing = column.is_null().to_numpy()
        asked = column.fill_null(int(known[0])).to_numpy()
        place = np.searchsorted(known, asked).clip(max=len(known) - 1)
        hit = (known[place] == asked) & ~missing
        return np.where(hit, place + FIRST, UNSEEN).astype(np.int32)


@dataclass(frozen=True, slots=True)
class Scale:
    """Mean and spread of a numeric column over the training part."""

    mean: float
    deviation: float

    @classmethod
    def fit(cls, column: pl.Series) -> Scale:
        """Statistics of the finite training values; a constant column has deviation 1."""
        numbers = column.cast(pl.Float64).drop_nulls()
        finite = numbers.filter(numbers.is_finite())
        mean, deviation = finite.mean(), finite.std()
        return cls(
            mean=float(mean) if isinstance(mean, float) else 0.0,
            deviation=float(deviation) if isinstance(deviation, float) and deviation > 0 else 1.0,
        )

    def encode(self, column: pl.Series) -> np.ndarray:
        """[R] values -> [R] float32 in training deviations from the mean; no number is the mean."""
        numbers = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
        known = np.where(np.isfinite(numbers), numbers, self.mean)
        return ((known - self.mean) / self.deviation).astype(np.float32)
