"""Curves over age: one for all events, or one for each category and user."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recscale.models.forgetting.kernel import SMALLEST, Forgetting, Traits, with_user
from recscale.models.forgetting.settings import CurveSettings, MixtureConfig
from recscale.models.forgetting.table import NODES, OCTAVES, nodes, read
from recscale.types import Batch, Catalogue, History, Schema

USER = "user_id"
HOUR, MONTH = 3_600.0, 2_600_000.0  # seconds: heads start between these, to tell them apart


class AgeCurve(Forgetting):
    """A family of curves with P numbers for each of H heads.

    A category and a user add deviations to those numbers, shared by the heads. The prior on them is
    the penalty, so that who has few events keeps the curve of all.
    """

    ages: Tensor  # [M]
    category_of: Tensor  # [V] the category of each item; empty without by_category
    none: Tensor  # no rows

    def __init__(
        self, start: Tensor, config: CurveSettings, schema: Schema, catalogue: Catalogue
    ) -> None:
        """Start [H, P]. Raises ValueError where the log lacks what the settings ask for."""
        super().__init__()
        self.shape = nn.Parameter(start)
        self.spread = config.spread
        self.events = max(1, int(catalogue.popularity.sum()))
        categories = _categories(config.by_category, schema, catalogue)
        users = _users(schema) if config.by_user else 0
        self.by_category = (
            _deviations(int(categories.max()) + 1, start) if len(categories) else None
        )
        self.by_user = _deviations(users, start) if users else None
        self.register_buffer("category_of", categories)
        self.register_buffer("ages", nodes(), persistent=False)
        self.register_buffer("none", torch.zeros(0, dtype=torch.int32), persistent=False)

    @abstractmethod
    def curves(self, shape: Tensor, age: Tensor) -> Tensor:
        """Shape [G, H, P], age [M] seconds, both float64 -> [G, H, M], 1 at age 0 if it can be."""

    def traits(self, history: History, content: Tensor) -> Traits:  # noqa: ARG002
        """A table of the curves that the batch needs, and which of them each event fades by."""
        if self.by_clock:
            return Traits(self._table(self.shape[None]), self.none)
        items = history.features["item"]
        if not len(items):
            return Traits(self._table(self.shape[None]), self.none)
        category = self.category_of[items] if self.by_category is not None else items * 0
        user = history.features[USER] if self.by_user is not None else items * 0
        pairs, row = torch.stack([category, user]).unique(dim=1, return_inverse=True)
        return Traits(self._table(self.shapes(pairs[0], pairs[1])), row.int())

    def forward(self, age: Tensor, seen: Tensor, traits: Traits) -> Tensor:  # noqa: ARG002
        """[B, H, Q, L]."""
        return read(traits.shared, age, traits.own)

    def shapes(self, category: Tensor, user: Tensor) -> Tensor:
        """[G], [G] ids -> [G, H, P]; ids that no training event had keep the shape of all."""
        shape = self.shape[None]
        if self.by_category is not None:
            shape = shape + self.by_category[category][:, None]
        if self.by_user is not None:
            shape = shape + self.by_user[user][:, None]
        return shape

    def curve(self, age: Tensor, category: Tensor | None = None) -> Tensor:
        """Age [M] seconds, category [G] -> [G, H, M] exactly, float64; without it that of all."""
        shape = self.shape[None]
        if category is not None:
            shape = self.shapes(category, category.new_zeros(len(category)))
        return self.curves(shape.double(), age.double()).clamp(min=SMALLEST)

    @property
    def by_clock(self) -> bool:
        """False where the curve depends on who or what the event was."""
        return self.by_category is None and self.by_user is None

    def penalty(self) -> Tensor | float:
        """Minus the logarithm of the prior, shared out over the events of training."""
        found = [part for part in (self.by_category, self.by_user) if part is not None]
        total = sum(part.square().sum() for part in found)
        return total / (2 * self.spread**2 * self.events)

    def reads(self, batch: Batch) -> History:
        """With the user's id where users have curves."""
        return batch.history if self.by_user is None else with_user(batch, USER)

    def _table(self, shape: Tensor) -> Tensor:
        # float64: in float32 neighbouring nodes of a slow curve would rise by rounding.
        with torch.autocast(shape.device.type, enabled=False):
            curves = self.curves(shape.double(), self.ages.double())
        return curves.clamp(min=SMALLEST).to(shape.dtype)


class Mixture(AgeCurve):
    """f(t) = floor + sum_k w_k exp(-t / tau_k), w a softmax with the floor, tau fixed.

    By Bernstein's theorem every completely monotone curve is such a mixture; exponential, power-law
    and stretched forgetting are all completely monotone.
    """

    rates: Tensor  # [K]

    def __init__(
        self, config: MixtureConfig, heads: int, schema: Schema, catalogue: Catalogue
    ) -> None:
        start = torch.zeros(heads, config.components + 1)
        start[:, -1] = math.log(config.components)  # the floor starts with half of the weight
        super().__init__(start, config, schema, catalogue)
        fastest, slowest = math.log10(config.fastest), math.log10(config.slowest)
        constants = torch.logspace(fastest, slowest, config.components, dtype=torch.float64)
        self.register_buffer("rates", 1 / constants, persistent=False)

    def curves(self, shape: Tensor, age: Tensor) -> Tensor:
        """1 minus what is lost: age zero gives exactly one."""
        return 1 + shape.softmax(-1)[..., :-1] @ torch.expm1(-age * self.rates[:, None])

    def shares(self) -> Tensor:
        """[H, K + 1], of each time constant and of the floor."""
        return self.shape.softmax(-1)

    def flops(self) -> int:
        """The table of the curve of all."""
        heads, components = self.shape.shape
        return 2 * heads * (components - 1) * NODES


class Exponential(AgeCurve):
    """floor + (1 - floor) exp(-t / S)."""

    def curves(self, shape: Tensor, age: Tensor) -> Tensor:
        """Shape: floor, log S."""
        floor, scale = shape[..., None].unbind(-2)
        return _above(floor, torch.exp(-age / scale.exp()))


class Power(AgeCurve):
    """floor + (1 - floor) (1 + t / S)^(-b)."""

    def curves(self, shape: Tensor, age: Tensor) -> Tensor:
        """Shape: floor, log S, b before softplus."""
        floor, scale, power = shape[..., None].unbind(-2)
        return _above(floor, torch.exp(-F.softplus(power) * torch.log1p(age / scale.exp())))


class Wickelgren(AgeCurve):
    """floor + (1 - floor) (1 + t / S)^(-b) exp(-r t) (Wickelgren 1974, with weight 1 at t = 0)."""

    def curves(self, shape: Tensor, age: Tensor) -> Tensor:
        """Shape: floor, log S, b before softplus, log 1 / r."""
        floor, scale, power, slow = shape[..., None].unbind(-2)
        decay = F.softplus(power) * torch.log1p(age / scale.exp()) + age / slow.exp()
        return _above(floor, torch.exp(-decay))


class Stretched(AgeCurve):
    """floor + (1 - floor) exp(-(t / S)^p), 0 < p < 1."""

    def curves(self, shape: Tensor, age: Tensor) -> Tensor:
        """Shape: floor, log S, p before the logistic function."""
        floor, scale, power = shape[..., None].unbind(-2)
        # 1e-9: the gradient of 0^p is not finite; p = 0.02 still loses 1 at age 0 only
        stretched = ((age + 1e-9) / scale.exp()).pow(power.sigmoid())
        return _above(floor, torch.exp(-stretched * (age > 0)))


class Bucket(AgeCurve):
    """A free weight for each half octave of 1 + t."""

    def curves(self, shape: Tensor, age: Tensor) -> Tensor:
        """Shape: a logit for each bucket."""
        bucket = (torch.log2(1 + age) * 2).long().clamp(max=shape.shape[-1] - 1)
        return shape.sigmoid()[..., bucket]


def start(heads: int, *others: float) -> Tensor:
    """[H, P]: a floor of a half, scales apart from head to head, then `others`."""
    scale = torch.linspace(math.log(HOUR), math.log(MONTH), heads + 2)[1:-1]
    columns = [torch.zeros(heads), scale, *(torch.full((heads,), value) for value in others)]
    return torch.stack(columns, dim=1)


def start_buckets(heads: int) -> Tensor:
    """[H, P]: weights of one half."""
    return torch.zeros(heads, 2 * OCTAVES)


def _above(floor: Tensor, curve: Tensor) -> Tensor:
    """Raised so that it ends at the floor; 1 stays 1."""
    return 1 + torch.sigmoid(-floor) * (curve - 1)


def _deviations(groups: int, start: Tensor) -> nn.Parameter:
    return nn.Parameter(torch.zeros(groups, start.shape[1]))


def _categories(name: str | None, schema: Schema, catalogue: Catalogue) -> Tensor:
    if name is None:
        return torch.zeros(0, dtype=torch.int64)
    known = [feature.name for feature in schema.item if feature.name in catalogue.single]
    if name not in known or catalogue.single[name].is_floating_point():
        raise ValueError(
            f"model.forgetting.by_category: no categorical item feature {name}; the log has "
            f"{', '.join(known) or 'none'}"
        )
    return catalogue.single[name]


def _users(schema: Schema) -> int:
    for feature in schema.user:
        if feature.name == USER:
            return feature.size
    raise ValueError("model.forgetting.by_user: needs features.user_id: true")
