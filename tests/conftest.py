"""What tests share: where the real logs are, how the command line is run."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from recscale.cli import main

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Told:
    """What a verb said."""

    stdout: str
    stderr: str


class Cli(Protocol):
    """Run a verb as a user would; see the fixture `cli`."""

    def __call__(self, *words: str, code: int = 0) -> Told: ...


@pytest.fixture(scope="session")
def real_logs() -> Path:
    """The folder of public logs; tests that need one skip where it is absent."""
    folder = Path(os.environ.get("RECSCALE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real logs: {folder} is absent and $RECSCALE_DATA names none")
    return folder


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Run a verb in `tmp_path`, in this process: importing torch anew takes seconds."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RECSCALE_DATA", raising=False)

    def run(*words: str, code: int = 0) -> Told:
        monkeypatch.setattr(sys, "argv", ["recscale", *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        told = Told(*capfd.readouterr())
        assert (end.value.code or 0) == code, told.stderr
        assert "Traceback" not in told.stderr
        return told

    return run
