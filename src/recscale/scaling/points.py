"""What laws are fitted to: a loss at a place on some axes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Points:
    """n runs. Those of one rung differ by their seed alone."""

    axes: Mapping[str, Floats]  # name -> [n], all positive
    loss: Floats  # [n]
    # [n] which rung each run is of; None: runs at one place are one rung. Compute is counted on a
    # run's own batches, so that seeds of a rung are not at quite the same place.
    rung: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        for name, values in self.axes.items():
            if len(values) != len(self.loss) or not (values > 0).all():
                raise ValueError(f"axis {name}: want {len(self.loss)} positive numbers")
        if not np.isfinite(self.loss).all():
            raise ValueError("losses must be finite numbers")

    def __len__(self) -> int:
        return len(self.loss)

    @property
    def varying(self) -> tuple[str, ...]:
        """The axes on which runs differ."""
        return tuple(name for name, values in self.axes.items() if np.ptp(values) > 0)

    def rungs(self) -> NDArray[np.int64]:
        """[n] the rung of each run, numbered from 0."""
        return self.places(self.axes) if self.rung is None else self.rung

    def places(self, names: Iterable[str]) -> NDArray[np.int64]:
        """[n] a number for each place, equal where runs agree on `names`."""
        columns = [self.axes[name] for name in names]
        if not columns:
            return np.zeros(len(self), dtype=np.int64)
        return np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)[1].reshape(-1)

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> Points:
        """Some of the runs, or some of them several times."""
        axes = {name: values[index] for name, values in self.axes.items()}
        return Points(axes, self.loss[index], None if self.rung is None else self.rung[index])


def one(place: Mapping[str, float]) -> dict[str, Floats]:
    """A single place as axes of length 1."""
    return {name: np.array([float(value)]) for name, value in place.items()}


@dataclass(frozen=True, slots=True)
class Noise:
    """How much runs of one rung differ by their seed."""

    deviation: float
    degrees: int  # of freedom


def seed_noise(points: Points) -> Noise | None:
    """The pooled deviation over seeds; None where no rung was run twice."""
    rung = points.rungs()
    count = np.bincount(rung)
    degrees = len(points) - len(count)
    if not degrees:
        return None
    mean = np.bincount(rung, points.loss) / count
    return Noise(float(np.sqrt(((points.loss - mean[rung]) ** 2).sum() / degrees)), degrees)
