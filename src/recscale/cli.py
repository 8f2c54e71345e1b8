"""The verbs. Imports stand inside functions, so that --help is instant."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recscale import cli_scaling
from recscale.options import PREPARED, Data, Json, Overrides, Prepared
from recscale.options import places as _places
from recscale.options import raw as _raw
from recscale.options import stoppable as _stoppable
from recscale.options import tell as _tell

if TYPE_CHECKING:
    from recscale.data import DataConfig
    from recscale.types import Record

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # half the start-up time
    help="Compare generative and click-through recommenders on one log, and see what scale pays.",
)

ENVIRONMENT = {
    # Idle OpenMP threads that spin take the cores from those at work: ten times slower when shared.
    "OMP_WAIT_POLICY": "PASSIVE",
    # glibc gives large blocks back at once, and page faults then take up to half of a training
    # step. Read when a process starts, so this serves the processes of `compare`.
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "MALLOC_MMAP_THRESHOLD_": str(2**33),
}
Run = Annotated[Path, typer.Argument(help="A run folder.")]

app.command()(cli_scaling.scale)
app.command()(cli_scaling.sweep)


def main() -> None:
    """Run a verb. What a user can cause ends in one line on stderr and exit status 2."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        app()
    except (ValueError, OSError, FloatingPointError) as error:
        typer.echo(f"recscale: {error}", err=True)
        sys.exit(2)


@app.command()
def data(
    source: Annotated[str, typer.Argument(help="A public log's name, or a YAML file with data:.")],
    *,
    data: Data = None,
    prepared: Prepared = PREPARED,
    as_json: Json = False,
) -> None:
    """Show a log's card: sizes, time span, repeats, quality, and what was dropped and why."""
    from recscale.data import card, load
    from recscale.features.prepare import home

    config = _data_config(source)
    log = load(config, home(config, _raw(data), prepared))
    _tell({"source": source, **card.card(log)}, as_json)


@app.command()
def prepare(
    config: Annotated[Path, typer.Argument(help="A run's YAML file.")],
    overrides: Overrides = None,
    *,
    data: Data = None,
    prepared: Prepared = PREPARED,
    as_json: Json = False,
) -> None:
    """Turn a raw log into a prepared folder, or find the one already made."""
    from recscale.config import load
    from recscale.features.prepare import prepare as make
    from recscale.features.prepare import summary

    settings = load(config, overrides or ())
    folder = make(settings.recipe, _raw(data), prepared)
    _tell({"folder": str(folder), **summary(folder)}, as_json)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(help="A run's YAML file.")],
    overrides: Overrides = None,
    *,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/<config> by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a killed run.")] = False,
    data: Data = None,
    prepared: Prepared = PREPARED,
    as_json: Json = False,
) -> None:
    """Train, evaluate and time one model; torchrun -m recscale train does it over processes."""
    from recscale import pipeline
    from recscale.config import load
    from recscale.training import launch

    settings = load(config, overrides or ())
    folder = out or Path("runs") / config.stem
    places = _places(data, prepared)
    again = f"{folder / 'config.yaml'} --resume --out {folder}"
    with _stoppable(
        f"go on with: recscale train {again} --data {places.raw} --prepared {prepared}"
    ):
        if not launch.first():
            pipeline.assist(settings, folder, places, resume=resume)
            return
        found = pipeline.run(settings, folder, places, resume=resume)
    _tell(found, as_json)


@app.command()
def evaluate(
    run: Run, *, data: Data = None, prepared: Prepared = PREPARED, as_json: Json = False
) -> None:
    """Measure a run on the test part again and write the metrics into its record."""
    from recscale import pipeline

    _tell(pipeline.evaluate(run, _places(data, prepared))["metrics"], as_json)


@app.command()
def forgetting(
    run: Run, *, data: Data = None, prepared: Prepared = PREPARED, as_json: Json = False
) -> None:
    """Measure how fast a log and the model trained on it forget; kept in the run's record."""
    from recscale import forget

    _tell(forget.measure(run, _places(data, prepared)), as_json)


@app.command()
def latency(
    run: Run,
    *,
    budget_ms: Annotated[float | None, typer.Option(help="Milliseconds for a request.")] = None,
    percentile: Annotated[float | None, typer.Option(help="Share of requests within it.")] = None,
    candidates: Annotated[int | None, typer.Option(help="Items to score in a request.")] = None,
    history: Annotated[int | None, typer.Option(help="Most events that a user has.")] = None,
    requests: Annotated[int | None, typer.Option(help="Requests to time.")] = None,
    rate: Annotated[float | None, typer.Option(help="Requests a second that come anyway.")] = None,
    search: Annotated[bool, typer.Option("--search", help="Find the rate within budget.")] = False,
    states: Annotated[str | None, typer.Option(help="kept or anew, of users under load.")] = None,
    window: Annotated[str | None, typer.Option(help="newest or half, once it is full.")] = None,
    precision: Annotated[str | None, typer.Option(help="Of kept keys and values.")] = None,
    data: Data = None,
    prepared: Prepared = PREPARED,
    as_json: Json = False,
) -> None:
    """Exit status 0 within the budget, 1 over it, 2 on error.

    One request after another, or as they come: --rate, --search.
    """
    from recscale import timing
    from recscale.serving.latency import Load

    asked = {"budget_ms": budget_ms, "percentile": percentile, "candidates": candidates}
    asked |= {"history": history, "requests": requests, "states": states, "window": window}
    asked |= {"precision": precision}
    changes = {name: value for name, value in asked.items() if value is not None}
    if rate is not None and rate <= 0:
        raise ValueError(f"--rate: want more than 0 requests a second, got {rate:g}")
    places = _places(data, prepared)
    if search or rate is not None:
        measured = timing.under_load(run, places, changes, Load(rate, search))
    else:
        measured = timing.latency(run, places, changes)
    _tell(measured, as_json)
    raise typer.Exit(0 if measured["within_budget"] else 1)


@app.command()
def serve(
    run: Run,
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    budget_ms: Annotated[float, typer.Option(help="Milliseconds for a request.")] = 50.0,
    states_mib: Annotated[float, typer.Option(help="Memory for users' states.")] = 512.0,
    window: Annotated[str, typer.Option(help="newest or half, once it is full.")] = "newest",
    data: Data = None,
    prepared: Prepared = PREPARED,
) -> None:
    """Answer /score, /recommend and /events over HTTP; $RECSCALE_TOKEN asks for a bearer token."""
    from recscale.serve import serve as answer

    engine = {"states_mib": states_mib, "window": window}
    listening = {"host": host, "port": port, "engine": engine, "batch": {"budget_ms": budget_ms}}
    answer(run, _places(data, prepared), listening)


@app.command()
def compare(
    configs: Annotated[list[str], typer.Argument(help="YAML files, and settings a.b=value.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder of the runs and the page.")],
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each config.")] = 3,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time, one process each.")] = 1,
    data: Data = None,
    prepared: Prepared = PREPARED,
    as_json: Json = False,
) -> None:
    """Train what has no record and write one page that compares it all."""
    from recscale import compare as comparison

    overrides = [text for text in configs if "=" in text and not Path(text).exists()]
    paths = [Path(text) for text in configs if text not in overrides]
    if not paths:
        raise ValueError("compare: name at least one YAML file")
    settings = comparison.named(paths, overrides)
    with _stoppable("the same command goes on"):
        places = _places(data, prepared)
        records = comparison.run_all(settings, range(seeds), out, places, jobs)
    folders = {record["name"]: out / record["name"] for record in records}
    _write_page(records, folders, out / "report.html", as_json)


@app.command()
def report(
    folders: Annotated[list[Path], typer.Argument(help="Run folders, or folders of them.")],
    *,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    as_json: Json = False,
) -> None:
    """Write the page from record.json files only."""
    from recscale import record

    runs = [run for folder in folders for run in record.runs(folder)]
    if not runs:
        raise ValueError(f"{', '.join(map(str, folders))}: no record.json in there")
    records = [record.read(run) for run in runs]
    names = [found["name"] for found in records]
    _write_page(records, dict(zip(names, runs, strict=True)), out, as_json)


def _write_page(records: list[Record], folders: dict[str, Path], out: Path, as_json: bool) -> None:
    from recscale.report import combined, differences, page, tables

    page.write(records, out, folders)
    said = combined.document(records, folders)
    if as_json:
        gaps = differences.document(records, folders)
        document = {"page": str(out), **said, "differences": gaps, "records": records}
        typer.echo(json.dumps(document))
        return
    gaps = tables.markdown_gaps(records, folders)
    distance = f"Distance to the best, paired over users [95 %]:\n\n{gaps}\n\n" if gaps else ""
    found = "".join(f"{text}\n\n" for text in said["findings"])
    typer.echo(f"{tables.markdown(records, folders)}\n\n{distance}{found}{out}")


def _data_config(source: str) -> DataConfig:
    from recscale import data as sources

    if not source.endswith((".yaml", ".yml")):
        return sources.named(source)
    return _from_file(Path(source))


def _from_file(path: Path) -> DataConfig:
    """The data: section of any YAML file, whatever else it holds."""
    from recscale import configfile
    from recscale.features.prepare import Source

    raw = configfile.read(path)
    if "data" not in raw:
        raise configfile.ConfigError(f"{path}: data: missing; a log is described under it")
    return configfile.check(Source, {"data": raw["data"]}).data


if __name__ == "__main__":
    main()
