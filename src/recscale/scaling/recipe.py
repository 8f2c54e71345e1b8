"""From one dial to a whole model and the pace of its training."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from recscale.configfile import ConfigError, Settings


class Power(Settings):
    """A number at size 1, and the power of the size that it follows."""

    at_one: float = Field(gt=0)
    power: float = 0.0


class Recipe(Settings):
    """How one family grows. Size 1 is what the numbers say; size s is what their powers make of it.

    A rung that does not fit falsifies the recipe: a power is changed for every rung or for none.
    """

    model: dict[str, Any]  # a run's `model`, without what the recipe sets
    width: int = Field(default=16, ge=1)  # at size 1; grows in proportion
    depth: float = Field(default=1, ge=1)  # blocks, cross layers or layers of a tower, rounded
    depth_power: float = Field(default=0.5, ge=0)
    head_width: int = Field(default=16, ge=1)  # one head for each so many
    # Settings of `training` that follow the size: lr, and where it is set apart that of the tables.
    rates: dict[str, Power] = {"lr": Power(at_one=1e-3, power=-0.5)}
    steps: int = Field(default=1000, ge=1)
    steps_power: float = 0.0
    # A row is a window of `history` events of which half are new: so many rows hold these targets.
    targets: int = Field(default=1600, ge=1)  # a step

    def depth_at(self, size: float) -> int:
        """Rounded, and at least one."""
        return max(1, round(self.depth * size**self.depth_power))

    def model_at(self, size: float) -> dict[str, Any]:
        """The model's settings. Raises ConfigError for a family that no rule is known for."""
        width, depth = max(1, round(self.width * size)), self.depth_at(size)
        match self.model.get("name"):
            case "hstu" | "transformer":
                heads = max(1, width // self.head_width)
                width = heads * (width // heads)  # whole heads
                grown: dict[str, Any] = {"width": width, "blocks": depth, "heads": heads}
            case "din":
                hidden = [max(1, 4 * width // 2**layer) for layer in range(depth + 1)]
                grown = {"width": width, "attention": width, "hidden": hidden}
            case "dcnv2":
                grown = {"width": width, "crosses": depth, "hidden": [4 * width, 2 * width]}
            case other:
                raise ConfigError(f"model.name: no rule says how {other} grows")
        return {**self.model, **grown}

    def training_at(self, size: float, history: int, share: float) -> dict[str, Any]:
        """Steps follow the data, so that every rung goes through its own equally often."""
        steps = max(1, round(self.steps * size**self.steps_power * share))
        return {
            "steps": steps,
            "batch_size": max(1, round(2 * self.targets / (history + 1))),
            **{name: rate.at_one * size**rate.power for name, rate in self.rates.items()},
        }
