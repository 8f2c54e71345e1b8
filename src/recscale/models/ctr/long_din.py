"""DIN over long histories: each candidate first chooses the events worth attending to."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from recscale.configfile import Settings
from recscale.models import jagged
from recscale.models.clock import age_seconds
from recscale.models.counting import cost, linear_flops
from recscale.models.ctr.din import CELLS, DIN, DINConfig
from recscale.models.forgetting import AgeCurve, Forgetting, NoForgetting
from recscale.models.settings import Count
from recscale.models.tower import tower_flops
from recscale.types import Batch, Catalogue, Cost, Schema


class SameCategory(Settings):
    """The newest events of the candidate's own category: hard search of SIM (Pi et al. 2020)."""

    by: Literal["category"] = "category"
    category: str  # an item feature


class SimHash(Settings):
    """The events whose hash is nearest to the candidate's, of these the newest (Chen et al. 2021).

    ETA, section 3.2: signs of random projections of the same vectors that the attention reads.
    """

    by: Literal["simhash"] = "simhash"
    bits: Count = 32


Selection = Annotated[SameCategory | SimHash, Field(discriminator="by")]


class LongDINConfig(DINConfig):
    """DIN's settings, and how few of the visible events are attended to."""

    name: Literal["din_long"] = "din_long"  # pyright: ignore[reportIncompatibleVariableOverride]
    selection: Selection = SimHash()
    keep: Count = 50


class ByCategory(nn.Module):
    """1 where an event shares the candidate's category, less than 0 elsewhere."""

    category: Tensor

    def __init__(self, config: SameCategory, schema: Schema, catalogue: Catalogue) -> None:
        super().__init__()
        known = [f.name for f in schema.item[1:] if f.kind == "categorical"]
        if config.category not in known:
            raise ValueError(
                f"model.selection.category: the items have no categorical {config.category}; "
                f"they have {', '.join(known) or 'none'}"
            )
        self.register_buffer("category", catalogue.single[config.category])

    def keys(self, item: Tensor, vector: Tensor) -> Tensor:  # noqa: ARG002
        """item [...], vector [..., D] -> [...]."""
        return self.category[item]

    def forward(self, candidate: Tensor, past: Tensor) -> Tensor:
        """Keys [R], [R, L] -> [R, L]."""
        return (past == candidate[:, None]).float() * 2 - 1

    def flops(self, events: int, candidates: int) -> int:  # noqa: ARG002
        """Comparisons only."""
        return 0


class ByHash(nn.Module):
    """How many bits more agree than differ; never below 0, so that every event may be kept."""

    rotation: Tensor

    def __init__(self, config: SimHash, width: int) -> None:
        super().__init__()
        self.register_buffer("rotation", torch.randn(width, config.bits))

    def keys(self, item: Tensor, vector: Tensor) -> Tensor:  # noqa: ARG002
        """item [...], vector [..., D] -> [..., bits] of -1 and 1."""
        return torch.where(vector @ self.rotation > 0, 1.0, -1.0)

    def forward(self, candidate: Tensor, past: Tensor) -> Tensor:
        """Keys [R, bits], [R, L, bits] -> [R, L]."""
        agreed = (past @ candidate[:, :, None])[..., 0]
        return agreed + self.rotation.shape[1]

    def flops(self, events: int, candidates: int) -> int:
        """Each vector is hashed once, each pair compared."""
        width, bits = self.rotation.shape
        return 2 * bits * (width * (events + candidates) + events * candidates)


class LongDIN(DIN):
    """DIN whose attention reads `keep` events of any history."""

    def __init__(
        self, config: LongDINConfig, schema: Schema, catalogue: Catalogue, forgetting: Forgetting
    ) -> None:
        super().__init__(config, schema, catalogue, forgetting)
        if not isinstance(forgetting, NoForgetting | AgeCurve):
            raise ValueError(  # noqa: TRY004, a setting of the user's
                f"model.forgetting.kind: {config.forgetting.kind} reads the order of events, which "
                "chosen ones do not keep; a curve over age is possible"
            )
        self.keep = config.keep
        match config.selection:
            case SameCategory():
                self.relevance = ByCategory(config.selection, schema, catalogue)
            case SimHash():
                self.relevance = ByHash(config.selection, config.width)

    def cost(self, history: int, candidates: int) -> Cost:
        """As DIN over what is kept, and the search for it."""
        kept = min(history, self.keep)
        pairs = kept * candidates
        searched = self.relevance.flops(history, candidates) + self.forgetting.flops()
        # Each candidate keeps events of its own, so that it is a tile of its own.
        attended = self.attention.flops(kept, candidates) + 2 * pairs * self.config.width
        inputs = self.user.count * self.config.width
        towers = tower_flops(self.tower, inputs, candidates) + linear_flops(self.output, candidates)
        return cost(self, searched + attended + towers)

    def _interest(self, candidate: Tensor, events: Tensor, batch: Batch) -> Tensor:
        """[N, D], [T, D] -> [N, D], a few candidates at a time, each over events of its own."""
        past, ahead = self.forgetting.reads(batch), batch.candidates
        if not len(candidate):
            return candidate
        row, where = jagged.owner(ahead.offsets), jagged.layout(past.offsets)
        with torch.no_grad():  # a choice, not a weight
            keys = jagged.pad(self.relevance.keys(past.features["item"], events), where)
            wanted = self.relevance.keys(ahead.features["item"], candidate)
        padded, clock = jagged.pad(events, where), jagged.pad(past.time, where)
        traits = self.forgetting.traits(past, events).padded(where)
        step = max(1, CELLS // (where.length * max(self.config.attention, keys[0, 0].numel())))
        pooled: list[Tensor] = []
        for part in torch.arange(len(row), device=row.device).split(step):
            of = row[part]
            place, count = self._choose(wanted[part], keys[of], ahead.prefix[part])
            cell = of[:, None] * where.length + place  # [R, K]
            pooled.append(
                self._pool(
                    candidate[part][:, None],
                    padded.flatten(0, 1).index_select(0, cell.flatten()).unflatten(0, cell.shape),
                    age_seconds(ahead.time[part][:, None, None], clock.flatten()[cell][:, None]),
                    count[:, None],
                    traits.chosen(cell),
                )
            )
        return torch.cat(pooled)[:, 0]

    def _choose(self, wanted: Tensor, keys: Tensor, prefix: Tensor) -> tuple[Tensor, Tensor]:
        """Keys of R candidates and of their rows' L events -> places [R, K], how many count [R].

        The places that count come first. Of events that are equally near the newest is nearer.
        """
        length = keys.shape[1]
        place = torch.arange(length, device=keys.device)
        near = self.relevance(wanted, keys) + place / (length + 1.0)
        near = near.masked_fill((place >= prefix[:, None]) | (near < 0), -torch.inf)
        value, chosen = near.topk(min(self.keep, length), dim=1)
        return chosen, (value > -torch.inf).sum(1)
