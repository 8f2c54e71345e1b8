"""Files that appear whole or not at all: write aside, then rename."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from recscale.data.schema import DataError


@contextmanager
def whole_folder(folder: Path) -> Generator[Path]:
    """A scratch folder that becomes `folder` when the block ends well, and vanishes otherwise.

    Where another process finished the same folder first, its work is kept and this one dropped.
    Raises DataError where nothing can be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise DataError(f"{folder.parent}: cannot write there ({error.strerror})") from error
    try:
        yield aside
        aside.chmod(0o755)  # mkdtemp makes it private
        _place(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def room_for_work(parent: Path) -> Generator[Path]:
    """A folder under `parent` that need not exist before it is used, and does not after."""
    room = parent / f".work-{os.getpid()}"
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _place(aside: Path, folder: Path) -> None:
    try:
        os.replace(aside, folder)  # noqa: PTH105 - Path.rename does the same, less plainly
    except OSError:
        if not folder.is_dir():
            raise
