"""Features of a user, a request or an event: one vector of width D for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from recscale.models.embedding import SPREAD, Tables
from recscale.types import Feature


class Fields(nn.Module):
    """F features that R rows have one value of: ids are looked up, numbers scale a vector.

    A vector that another model worked out is brought to width D by a matrix; zero stays zero.
    """

    nothing: Tensor

    def __init__(self, features: Sequence[Feature], width: int) -> None:
        super().__init__()
        ids = [feature for feature in features if feature.kind == "categorical"]
        numbers = [feature for feature in features if feature.kind == "numeric"]
        self.categorical = [feature.name for feature in ids]
        self.tables = Tables(ids, width) if ids else None
        self.numeric = [feature.name for feature in numbers]
        self.lines = Lines(len(numbers), width) if numbers else None
        self.vectors = nn.ModuleDict(
            {
                feature.name: nn.Linear(feature.size, width, bias=False)
                for feature in features
                if feature.kind == "vector"
            }
        )
        self.register_buffer("nothing", torch.zeros(1, 0, width), persistent=False)

    @property
    def count(self) -> int:
        """Features, and so vectors for each row: F."""
        return len(self.categorical) + len(self.numeric) + len(self.vectors)

    def forward(self, values: Mapping[str, Tensor], rows: int) -> Tensor:
        """name -> [R], or [R, size] for a vector -> [R, F, D]; other names are left unread."""
        found = [self.nothing.expand(rows, -1, -1)]
        if self.tables is not None:
            found.append(self.tables(torch.stack([values[name] for name in self.categorical])))
        if self.lines is not None:
            found.append(self.lines(torch.stack([values[name] for name in self.numeric], dim=1)))
        found += [brought(values[name])[:, None] for name, brought in self.vectors.items()]
        return torch.cat(found, dim=1)


class Lines(nn.Module):
    """A vector along a line of its own for each of F numbers."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.randn(count, width) * SPREAD)
        self.level = nn.Parameter(torch.randn(count, width) * SPREAD)

    def forward(self, numbers: Tensor) -> Tensor:
        """[R, F] -> [R, F, D]."""
        return numbers.float()[..., None] * self.slope + self.level
