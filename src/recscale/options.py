"""What verbs share: options, and how a result is told. Imports stand inside functions here too."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from recscale.pipeline import Places

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document last on stdout.")]
Data = Annotated[
    Path | None,
    typer.Option("--data", help="Folder of raw logs; else $RECSCALE_DATA, else data/."),
]
Prepared = Annotated[Path, typer.Option("--prepared", help="Folder of prepared logs.")]
PREPARED = Path("prepared")
Overrides = Annotated[list[str] | None, typer.Argument(help="Settings to change: a.b=value.")]


@contextmanager
def stoppable(mend: str) -> Generator[None]:
    """Ctrl-C is no error, but no success either."""
    try:
        yield
    except KeyboardInterrupt as stop:
        typer.echo(f"recscale: stopped; {mend}", err=True)
        raise typer.Exit(130) from stop


def places(data: Path | None, prepared: Path) -> Places:
    """Folders outside a run."""
    from recscale.pipeline import Places

    return Places(raw=raw(data), prepared=prepared)


def raw(data: Path | None) -> Path:
    """The folder of raw logs."""
    return data or Path(os.environ.get("RECSCALE_DATA", "data"))


def tell(document: dict[str, Any], as_json: bool) -> None:
    """One JSON document, or the same for people."""
    if as_json:
        typer.echo(json.dumps(document))
        return
    from rich.console import Console
    from rich.pretty import Pretty

    Console().print(Pretty(document, expand_all=True))
