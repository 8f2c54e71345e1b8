"""Which curve the returns of a log follow: the model's own families, as survival curves.

A floor is the share that never comes back. Fitted on waits begun early, judged on waits begun late,
so that a family wins by what it says of people it has not seen wait.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from recscale.evaluation.forgetting_log import Spells, censored_at, counts
from recscale.evaluation.metrics import Floats
from recscale.features.store import Store
from recscale.models.forgetting import AgeCurve, build_curve
from recscale.models.forgetting.settings import (
    AgeCurveConfig,
    ExponentialConfig,
    MixtureConfig,
    PowerConfig,
    StretchedConfig,
    WickelgrenConfig,
)

FAMILIES: tuple[AgeCurveConfig, ...] = (
    ExponentialConfig(),
    PowerConfig(),
    WickelgrenConfig(),
    StretchedConfig(),
    MixtureConfig(),
)
EARLY = 0.7  # of the spells: those begun first are fitted, censored when the others begin
TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Fit:
    """One family, fitted."""

    family: str
    curve: Floats  # [M + 1] share not back yet at the limits
    held_out: float  # log-likelihood of a late spell, nats


def fit_families(found: Spells, limits: Floats, store: Store) -> list[Fit]:
    """Best first; nothing for a log with too few spells to hold any out."""
    moment = int(np.quantile(found.begin, EARLY)) if len(found.begin) else 0
    early, late = censored_at(found, moment), found.of(found.begin >= moment)
    if early.returned.sum() < 10 or late.returned.sum() < 10:
        return []
    seen, unseen = counts(early, limits), counts(late, limits)
    fits = [
        _fit(build_curve(family, 1, store.schema, store.catalogue()), family.kind, limits, seen)
        for family in FAMILIES
    ]
    judged = [Fit(f.family, f.curve, _likelihood(f.curve, unseen)) for f in fits]
    return sorted(judged, key=lambda fit: -fit.held_out)


def _fit(kernel: AgeCurve, name: str, limits: Floats, seen: tuple[np.ndarray, np.ndarray]) -> Fit:
    """Maximum likelihood of binned waits."""
    ages = torch.from_numpy(limits)
    back, gone = (torch.from_numpy(part).double() for part in seen)
    start = kernel.shape.detach().double()

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        shape = torch.from_numpy(flat).view_as(start).requires_grad_()
        curve = kernel.curves(shape[None], ages)[0, 0]
        value = -_log_likelihood(curve, back, gone) / (back.sum() + gone.sum())
        (gradient,) = torch.autograd.grad(value, shape)
        return float(value.detach()), gradient.flatten().numpy()

    found = minimize(loss, start.flatten().numpy(), jac=True, method="L-BFGS-B")
    with torch.no_grad():
        shape = torch.from_numpy(found.x).view_as(start)
        return Fit(name, kernel.curves(shape[None], ages)[0, 0].numpy(), 0.0)


def _log_likelihood(curve: Tensor, back: Tensor, gone: Tensor) -> Tensor:
    """Curve [M + 1], back and gone [M]. A censored wait lasted at least to its bin's start."""
    lost = (curve[:-1] - curve[1:]).clamp(min=TINY)
    return (back * lost.log() + gone * curve[:-1].clamp(min=TINY).log()).sum()


def _likelihood(curve: Floats, unseen: tuple[np.ndarray, np.ndarray]) -> float:
    back, gone = (torch.from_numpy(part).double() for part in unseen)
    total = float(back.sum() + gone.sum())
    return float(_log_likelihood(torch.from_numpy(curve), back, gone)) / total
