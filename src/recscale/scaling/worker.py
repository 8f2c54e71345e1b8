"""One process that climbs a ladder beside any number of others, until every rung has a record."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from recscale import completion, record
from recscale.features.prepare import prepare
from recscale.pipeline import Places
from recscale.scaling import claims, forecast, results
from recscale.scaling.claims import Claims
from recscale.scaling.ladder import Ladder, Rung, run_config
from recscale.types import Record


@dataclass(frozen=True, slots=True)
class Site:
    """Where a ladder is climbed: what every worker on it must agree on."""

    out: Path  # shared by all machines
    places: Places
    storage: str | None = None  # URL of a database; None: a journal in `out`
    lease_seconds: float = claims.LEASE_SECONDS

    def claims(self, ladder: Ladder) -> Claims:
        """This worker's view of who is at which rung."""
        where = self.storage or str(self.out / "claims.journal")
        return Claims(claims.open_storage(where), ladder.name, self.lease_seconds)


def climb(ladder: Ladder, site: Site) -> list[Record]:
    """Fit rungs, forecast, held-out rungs, laws; each step by whichever worker is there first.

    Returns the records of all rungs. Raises ValueError where a rung's settings do not fit.
    """
    mine = site.claims(ladder)
    _climb(ladder, ladder.fitted, mine, site)
    if ladder.held_out:
        forecast.write_once(ladder, read(ladder, ladder.fitted, site.out), site.out, site.places)
        _climb(ladder, ladder.held_out, mine, site)
    records = read(ladder, (*ladder.fitted, *ladder.held_out), site.out)
    results.write(ladder, records, site.out)
    return records


def read(ladder: Ladder, rungs: Sequence[Rung], out: Path) -> list[Record]:
    """The records of rungs that have one, in the order of the rungs."""
    done = [rung for rung in rungs if is_done(ladder, rung, out)]
    return [record.read(out / rung.name) for rung in done]


def is_done(ladder: Ladder, rung: Rung, out: Path) -> bool:
    """Whether a rung is finished. Raises ValueError where it was made with other settings."""
    return completion.is_done(out / rung.name, run_config(ladder.config, rung))


def _climb(ladder: Ladder, rungs: Sequence[Rung], mine: Claims, site: Site) -> None:
    waiting = list(rungs)
    while waiting := [rung for rung in waiting if not is_done(ladder, rung, site.out)]:
        if not any(_try(ladder, rung, mine, site) for rung in waiting):
            time.sleep(site.lease_seconds / claims.BEATS)  # others are at what is left


def _try(ladder: Ladder, rung: Rung, mine: Claims, site: Site) -> bool:
    """Run a rung if it is free; False where it is not."""
    claim = mine.take(rung.name)
    if claim is None:
        return False
    config = run_config(ladder.config, rung)
    with claim.held():
        # It may have been finished by the attempt before this one, just ere it was killed.
        if not completion.is_done(site.out / rung.name, config):
            print(f"{rung.name}: attempt {claim.attempt + 1}", file=sys.stderr, flush=True)  # noqa: T201
            prepare(config.recipe, site.places.raw, site.places.prepared)
            completion.finish(config, site.out / rung.name, site.places)
            print(f"{rung.name}: finished", file=sys.stderr, flush=True)  # noqa: T201
    return True
