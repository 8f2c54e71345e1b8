"""A file of any size as frames that fit in memory, in the order of its rows."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import polars as pl

from recscale.data.files import open_parquet, parse_csv, reading
from recscale.data.schema import DataError

BYTES = 1 << 26  # of a CSV, or about as much of a Parquet file
ROWS_PER_BYTE = 1 / 32


def pieces(
    path: Path, columns: list[str], separator: str, size: int = BYTES
) -> Iterator[tuple[pl.DataFrame, int]]:
    """`columns` of a CSV or Parquet file, piece by piece, and how many ragged rows each had.

    Raises DataError as reading the whole would.
    """
    if path.suffix == ".parquet":
        return _of_parquet(path, columns, size)
    return _of_csv(path, columns, separator, size)


def _of_parquet(path: Path, columns: list[str], size: int) -> Iterator[tuple[pl.DataFrame, int]]:
    rows = max(1, int(size * ROWS_PER_BYTE))
    with reading(path):
        for frame in open_parquet(path, columns).collect_batches(
            chunk_size=rows, maintain_order=True, engine="streaming"
        ):
            yield frame, 0


def _of_csv(
    path: Path, columns: list[str], separator: str, size: int
) -> Iterator[tuple[pl.DataFrame, int]]:
    with reading(path), _open(path) as file:
        head = file.readline()
        if not head.strip():
            raise DataError(f"{path}: the file is empty")
        lines, rest = 0, b""
        while True:
            block = file.read(size)
            rest += block
            cut = _end_of_rows(rest) if block else len(rest)
            if cut or not block:
                yield parse_csv(head + rest[:cut], columns, separator, path, lines)
                lines += rest.count(b"\n", 0, cut)
            if not block:
                return
            rest = rest[cut:]


def _open(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _end_of_rows(text: bytes) -> int:
    """One past the last line break that is not inside quotes; 0 where there is none."""
    end = text.rfind(b"\n") + 1
    while end and text.count(b'"', 0, end) % 2:
        end = text.rfind(b"\n", 0, end - 1) + 1
    return end
