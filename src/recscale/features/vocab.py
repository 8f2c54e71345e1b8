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
class Moments:
    """Numbers summed up user by user, so that the total does not depend on how users are cut."""

    count: np.ndarray  # [U] finite numbers of each user
    mean: np.ndarray  # [U]
    spread: np.ndarray  # [U] squared deviations from the user's own mean, summed

    @classmethod
    def of(cls, column: pl.Series, user: pl.Series) -> Moments:
        """Of a column whose users lie together; a user without a finite number is left out."""
        numbers = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
        known = np.isfinite(numbers)
        numbers = numbers[known]
        _, first, owner, count = np.unique(
            user.rle_id().to_numpy()[known],
            return_index=True,
            return_inverse=True,
            return_counts=True,
        )
        start = numbers[first]  # summed from here, so that equal numbers have spread 0
        mean = start + np.bincount(owner, numbers - start[owner], len(count)) / count
        spread = np.bincount(owner, (numbers - mean[owner]) ** 2, len(count))
        return cls(count, mean, spread)


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

    @classmethod
    def of(cls, parts: list[Moments]) -> Scale:
        """Statistics of numbers that were summed up in parts (Chan et al. 1979, equation 2.1)."""
        count = np.concatenate([part.count for part in parts])
        means = np.concatenate([part.mean for part in parts])
        spread = np.concatenate([part.spread for part in parts]).sum()
        total = count.sum()
        if not total:
            return cls(0.0, 1.0)
        mean = means[0] + (count * (means - means[0])).sum() / total
        spread += (count * (means - mean) ** 2).sum()
        deviation = float(np.sqrt(spread / max(total - 1, 1)))
        return cls(float(mean), deviation if deviation > 0 else 1.0)

    def encode(self, column: pl.Series) -> np.ndarray:
        """[R] values -> [R] float32 in training deviations from the mean; no number is the mean."""
        numbers = column.cast(pl.Float64).fill_null(np.nan).to_numpy()
        known = np.where(np.isfinite(numbers), numbers, self.mean)
        return ((known - self.mean) / self.deviation).astype(np.float32)
