"""Files to frames, with every failure told in one line that names the file."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl

from recscale.data.schema import DataError

RAGGED = "wrong number of fields"
BLOCK = 1 << 24


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Turn what can go wrong while `path` is read into a DataError of one line."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged or truncated gzip ({_one_line(error)})") from error
    except pl.exceptions.NoDataError as error:
        raise DataError(f"{path}: the file is empty") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: cannot be read ({_one_line(error)})") from error


def content(path: Path) -> bytes:
    """The bytes of a file, unpacked where its name ends in .gz. Raises DataError."""
    with reading(path):
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if not raw.strip():
        raise DataError(f"{path}: the file is empty")
    return raw


def check_utf8(raw: bytes, path: Path, before: int = 0) -> None:
    """Raises DataError with the number of the first line that is not UTF-8.

    `before`: lines of the file that come before those in `raw`.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(raw), BLOCK):
        held = len(decoder.getstate()[0])  # of a letter cut by the block's edge
        try:
            decoder.decode(raw[start : start + BLOCK], final=start + BLOCK >= len(raw))
        except UnicodeDecodeError as error:
            line = before + raw.count(b"\n", 0, start - held + error.start) + 1
            raise DataError(f"{path}, line {line}: not UTF-8 text") from error


def read_lines(path: Path, separator: str, names: list[str]) -> tuple[pl.DataFrame, int]:
    """A headerless latin-1 file with a separator of any length, as text columns.

    Also returns how many lines were dropped for having another number of fields. Raises DataError.
    """
    text = content(path).decode("latin-1")
    # str.splitlines would also break at control characters that latin-1 titles may hold
    lines = pl.Series("line", [line.rstrip("\r") for line in text.rstrip("\n").split("\n")])
    good = lines.str.count_matches(separator, literal=True) == len(names) - 1
    fields = lines.filter(good).str.split_exact(separator, len(names) - 1)
    frame = fields.struct.rename_fields(names).struct.unnest()
    return frame.with_columns(pl.all().replace("", None)), len(lines) - frame.height


def read_csv(path: Path, columns: list[str], separator: str) -> tuple[pl.DataFrame, int]:
    """`columns` of a CSV with a header, all as text, and how many ragged rows were dropped.

    Text, because a type guessed from the first rows turns 007 into 7 and fails at row ten million.
    Raises DataError.
    """
    return parse_csv(content(path), columns, separator, path)


def parse_csv(
    raw: bytes, columns: list[str], separator: str, path: Path, before: int = 0
) -> tuple[pl.DataFrame, int]:
    """As `read_csv`, of a header and some rows of `path`; `before`: lines in between."""
    check_utf8(raw, path, before)
    with reading(path):
        header = next(csv.reader(io.StringIO(_first_line(raw)), delimiter=separator), [])
        header = [name.removeprefix("\ufeff") for name in header]
    require(columns, header, path)
    ragged = 0
    if not _is_rectangle(raw, len(header), separator):
        raw, ragged = _rectangle(raw, len(header), separator, path, before)
    with reading(path):
        frame = pl.read_csv(raw, columns=columns, infer_schema=False, separator=separator)
    return frame.select(columns), ragged


def read_jsonl(path: Path, columns: list[str]) -> pl.DataFrame:
    """`columns` of a file with one JSON object a line. Raises DataError."""
    raw = content(path)
    check_utf8(raw, path)
    with reading(path):
        frame = pl.read_ndjson(raw, infer_schema_length=None)
    require(columns, frame.columns, path)
    return frame.select(columns)


def open_parquet(path: Path, columns: list[str]) -> pl.LazyFrame:
    """`columns` of a Parquet file, not yet read. Raises DataError."""
    with reading(path):
        path.stat()  # a missing file is told apart from a bad one
        scan = pl.scan_parquet(path, glob=False)
        names = scan.collect_schema().names()
    require(columns, names, path)
    return scan.select(columns)


def read_parquet(path: Path, columns: list[str]) -> pl.DataFrame:
    """`columns` of a Parquet file. Raises DataError."""
    scan = open_parquet(path, columns)
    with reading(path):
        frame = scan.collect()
    if frame.is_empty():
        raise DataError(f"{path}: the file has no rows")
    return frame


def require(columns: list[str], there: list[str], path: Path) -> None:
    """Raises DataError that names each missing column, the file, and what the file has."""
    missing = [name for name in columns if name not in there]
    if missing:
        raise DataError(f"{path}: no column {', '.join(missing)}; it has {', '.join(there)}")


def _is_rectangle(raw: bytes, fields: int, separator: str) -> bool:
    """True proves that each row has `fields` fields, at the speed of counting bytes.

    polars fills short rows with nulls and cuts long ones, both silently. Quotes hide separators
    and blank lines are no rows, so either asks for the slow look.
    """
    if fields < 2 or b'"' in raw or b"\n\n" in raw or b"\n\r\n" in raw:
        return False
    start = 0
    while start < len(raw):
        end = raw.find(b"\n", start + BLOCK) + 1 or len(raw)
        if not _lines_have(raw[start:end].rstrip(b"\n"), fields - 1, separator):
            return False
        start = end
    return True


def _lines_have(lines: bytes, count: int, separator: str) -> bool:
    """Whether every line holds `count` separators: each line's own lie between its two ends."""
    letters = np.frombuffer(lines, dtype=np.uint8)
    ends = np.append(np.flatnonzero(letters == ord("\n")), len(letters))
    found = np.flatnonzero(letters == ord(separator))
    if len(found) != len(ends) * count:
        return False
    rows = found.reshape(len(ends), count)
    return bool((rows[:, -1] < ends).all() and (rows[1:, 0] > ends[:-1]).all())


def _rectangle(
    raw: bytes, fields: int, separator: str, path: Path, before: int
) -> tuple[bytes, int]:
    """The rows that have `fields` fields, and how many others; blank lines are no rows."""
    kept, ragged = io.StringIO(newline=""), 0
    writer = csv.writer(kept, delimiter=separator, lineterminator="\n")
    text = io.StringIO(raw.decode("utf-8-sig"), newline="")
    # strict, or a quote that never closes would swallow every row after it
    rows = csv.reader(text, delimiter=separator, strict=True)
    try:
        for row in rows:
            if len(row) == fields:
                writer.writerow(row)
            else:
                ragged += bool(row)
    except csv.Error as error:
        raise DataError(f"{path}, line {before + rows.line_num}: {_one_line(error)}") from error
    return kept.getvalue().encode(), ragged


def _first_line(raw: bytes) -> str:
    return raw[: raw.find(b"\n") + 1 or len(raw)].decode("utf-8").rstrip("\r\n")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160]
