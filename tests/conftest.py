"""What tests share: where the real logs are, how the command line is run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
Cli = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def real_logs() -> Path:
    """The folder of public logs; tests that need one skip where it is absent."""
    folder = Path(os.environ.get("RECSCALE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real logs: {folder} is absent and $RECSCALE_DATA names none")
    return folder


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Run a verb in `tmp_path`, as a user would."""

    def run(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "recscale", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run
