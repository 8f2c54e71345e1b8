"""What held-out rungs will do, said before they run, and how that turned out."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from recscale import record
from recscale.pipeline import Places
from recscale.scaling import plan, rivals
from recscale.scaling.ladder import Ladder, Rung
from recscale.scaling.points import seed_noise
from recscale.scaling.series import loss_of, series
from recscale.types import Record

FILE = "forecast.json"


def write_once(ladder: Ladder, records: Sequence[Record], out: Path, places: Places) -> Path:
    """Predict every held-out rung from the fitted ones, unless that has been done.

    Raises ValueError where a held-out rung was begun first: that would be no forecast.
    """
    path = out / FILE
    if path.exists():
        return path
    begun = [rung.name for rung in ladder.held_out if (out / rung.name / "config.yaml").exists()]
    if begun:
        raise ValueError(
            f"{path}: {begun[0]} was begun before anything was forecast; remove its folder, or "
            "take it out of held_out"
        )
    _create(_sealed(_document(ladder, records, places)), path)
    return path


def read(path: Path) -> dict[str, Any]:
    """A forecast, its seal checked. Raises ValueError where it was changed since."""
    told = json.loads(path.read_text(encoding="utf-8"))
    if told.get("sha256") != _digest(told):
        raise ValueError(f"{path}: changed since it was written; its sha256 does not fit")
    return told


def scorecard(
    ladder: Ladder, told: Mapping[str, Any], records: Sequence[Record]
) -> dict[str, dict[str, Any]]:
    """Held-out rung -> what came of it, and each rival's error beside the noise over seeds."""
    found: dict[str, dict[str, Any]] = {}
    for group, said in told["rungs"].items():
        losses = _losses(ladder, group, records)
        if len(losses):
            found[group] = _score(said, losses, _noise(ladder, group, records))
    return found


def _document(ladder: Ladder, records: Sequence[Record], places: Places) -> dict[str, Any]:
    fitted = {s.family: s for s in series(ladder, ladder.fitted, records)}
    said: dict[str, Any] = {}
    for rung in ladder.held_out:
        if rung.group in said or rung.family not in fitted:
            continue
        expected = plan.estimate(ladder, rung, places, timed=False)
        at = {**expected.place, "size": rung.size, "history": float(rung.history)}
        runs = sum(other.group == rung.group for other in ladder.held_out)
        laws = rivals.predictions(fitted[rung.family].points, at, runs)
        loss = {name: asdict(interval) for name, interval in laws.items()}
        said[rung.group] = {"family": rung.family, "runs": runs, "place": at, "loss": loss}
    return {
        "ladder": ladder.name,
        "measure": ladder.config.loss,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": record.commit(),
        "fitted_on": {family: found.names for family, found in fitted.items()},
        "rungs": said,
    }


def _score(said: Mapping[str, Any], losses: np.ndarray, noise: float | None) -> dict[str, Any]:
    """noise: the deviation of one run over seeds."""
    realised = float(losses.mean())
    laws: dict[str, Any] = {}
    for name, interval in said["loss"].items():
        error = interval["value"] - realised
        low, high = interval["low"], interval["high"]
        laws[name] = {
            "error": error,
            "relative_error": error / realised,
            "in_seed_deviations": None if not noise else error / noise,
            "in_interval": (low is None or low <= realised) and (high is None or realised <= high),
        }
    return {"runs": len(losses), "realised": realised, "seed_deviation": noise, "laws": laws}


def _losses(ladder: Ladder, group: str, records: Sequence[Record]) -> np.ndarray:
    names = {rung.name for rung in ladder.held_out if rung.group == group}
    return np.array([loss_of(ladder, found) for found in records if found["name"] in names])


def _noise(ladder: Ladder, group: str, records: Sequence[Record]) -> float | None:
    """Pooled over every rung of the family that was run several times, held-out ones too."""
    family = next(rung.family for rung in ladder.held_out if rung.group == group)
    rungs: list[Rung] = [*ladder.fitted, *ladder.held_out]
    for found in series(ladder, rungs, records):
        if found.family == family:
            noise = seed_noise(found.points)
            return None if noise is None else noise.deviation
    return None


def _sealed(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "sha256": _digest(document)}


def _digest(document: Mapping[str, Any]) -> str:
    """Of everything but the digest itself."""
    body = {key: value for key, value in document.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _create(document: Mapping[str, Any], path: Path) -> None:
    """Whole, and once: of two workers the first one's forecast stands."""
    aside = path.with_name(f".{os.getpid()}.{path.name}")
    aside.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    try:
        os.link(aside, path)
    except FileExistsError:
        pass
    finally:
        aside.unlink()
