"""The verbs that climb ladders. Imports stand inside functions, so that --help is instant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recscale.options import PREPARED, Data, Json, Overrides, Prepared, places, stoppable, tell

if TYPE_CHECKING:
    from recscale.scaling.ladder import Ladder
    from recscale.scaling.worker import Site

LEASE_SECONDS = 60.0  # scaling.claims.LEASE_SECONDS, which is not worth its import here


def scale(  # noqa: PLR0913, an argument for each option
    ladder: Annotated[Path, typer.Argument(help="A ladder's YAML file.")],
    overrides: Overrides = None,
    *,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the rungs, shared by all workers; runs/<ladder>.")
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print every rung's size, cost and time, and stop.")
    ] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Workers on this machine.")] = 1,
    storage: Annotated[
        str | None, typer.Option(help="URL of a database of claims; else a journal in --out.")
    ] = None,
    lease: Annotated[
        float, typer.Option(min=0.5, help="Seconds without a sign of life before a takeover.")
    ] = LEASE_SECONDS,
    data: Data = None,
    prepared: Prepared = PREPARED,
    as_json: Json = False,
) -> None:
    """Climb a ladder: run what has no record, forecast, fit laws; any number of these may run."""
    from recscale.scaling import ladder as ladders
    from recscale.scaling.worker import Site

    found = ladders.load(ladder, overrides or ())
    site = Site(out or Path("runs") / found.name, places(data, prepared), storage, lease)
    if plan:
        _tell_plan(found, site, as_json)
        return
    with stoppable("the same command goes on"):
        _climb(found, site, jobs, as_json)


def sweep(
    sweep: Annotated[Path, typer.Argument(help="A sweep's YAML file.")],
    overrides: Overrides = None,
    *,
    out: Annotated[Path | None, typer.Option(help="Folder of the trials; runs/<sweep>.")] = None,
    data: Data = None,
    prepared: Prepared = PREPARED,
    as_json: Json = False,
) -> None:
    """Find the learning rate of each size and the rule that it follows; leaves best.yaml."""
    from recscale.scaling import sweep as sweeps

    config, ladder = sweeps.load(sweep, overrides or ())
    with stoppable("the same command goes on"):
        told = sweeps.run(config, ladder, out or Path("runs") / sweep.stem, places(data, prepared))
    tell(told, as_json)


def _climb(ladder: Ladder, site: Site, jobs: int, as_json: bool) -> None:
    from recscale.report import scaling as page
    from recscale.scaling import crew, results

    records = crew.climb(ladder, site, jobs)
    told = results.read(site.out)
    written = page.write(ladder, told, records, site.out)
    if as_json:
        tell({"page": str(written), **told}, as_json)
        return
    typer.echo(f"{page.markdown(ladder, told, records)}\n\n{written}")


def _tell_plan(ladder: Ladder, site: Site, as_json: bool) -> None:
    from dataclasses import asdict

    from recscale.scaling import plan, worker

    rungs = [*ladder.fitted, *ladder.held_out]
    waiting = [rung for rung in rungs if not worker.is_done(ladder, rung, site.out)]
    estimates = plan.plan(ladder, rungs, site.places, timed=True)
    seconds = {r.name: e.seconds or 0.0 for r, e in zip(rungs, estimates, strict=True)}
    told: dict[str, Any] = {
        "rungs": [
            {"name": r.name, "held_out": r in ladder.held_out, **asdict(e)}
            for r, e in zip(rungs, estimates, strict=True)
        ],
        "runs": len(rungs),
        "waiting": len(waiting),
        "train_flops": sum(e.train_flops for e in estimates),
        "seconds": sum(seconds.values()),
        "seconds_waiting": sum(seconds[rung.name] for rung in waiting),
    }
    if as_json:
        tell(told, as_json)
        return
    typer.echo(_plan_table(told))


def _plan_table(told: dict[str, Any]) -> str:
    columns = ("item_table", "other_tables", "matrix", "scalars", "flops_per_request")
    lines = ["| rung | seeds | " + " | ".join(columns) + " | train flops | minutes |"]
    lines.append("| --- |" + " ---: |" * (len(columns) + 3))
    groups: dict[str, list[dict[str, Any]]] = {}
    for rung in told["rungs"]:
        groups.setdefault(rung["rung"], []).append(rung)
    for group, rungs in groups.items():
        one = rungs[0]
        counts = " | ".join(f"{one[column]:,}" for column in columns)
        name = f"{group} (held out)" if one["held_out"] else group
        time = f"{one['seconds'] * len(rungs) / 60:.1f}"
        lines.append(f"| {name} | {len(rungs)} | {counts} | {one['train_flops']:.2e} | {time} |")
    waiting = f"{told['waiting']} of {told['runs']} runs have no record yet"
    minutes = f"{told['seconds_waiting'] / 60:.0f} minutes of training steps on one worker"
    return "\n".join([*lines, "", f"{waiting}: {minutes}, evaluation and latency not counted"])
