"""How a prepared folder is laid out on disk."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import polars as pl


class Writer:
    """Writes arrays as .npy files and, last, the meta.json that names them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths: dict[str, dict[str, str]] = defaultdict(dict)
        self.scales: dict[str, tuple[float, float]] = {}
        self.rows: dict[str, int] = {}  # path -> rows appended so far

    def array(self, group: str, name: str, values: np.ndarray) -> None:
        """One column of a group."""
        path = f"{group}/{name}.npy"
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        np.save(target, np.ascontiguousarray(values))
        self.paths[group][name] = path

    def append(self, group: str, name: str, values: np.ndarray) -> None:
        """The next rows of a column that comes in pieces; all have one type."""
        path = f"{group}/{name}.npy"
        target = self.folder / path
        if name not in self.paths[group]:
            target.parent.mkdir(parents=True, exist_ok=True)
            self.paths[group][name] = path
            self.rows[path] = 0
            with target.open("wb") as file:
                _head(file, values.dtype, 0)
        with target.open("r+b") as file:
            self.rows[path] += len(values)
            _head(file, values.dtype, self.rows[path])
            file.seek(0, os.SEEK_END)
            np.ascontiguousarray(values).tofile(file)

    def link(self, group: str, name: str, source: str) -> None:
        """The same column as another group's: stored once."""
        self.paths[group][name] = self.paths[source][name]

    def offsets(self, group: str, lengths: np.ndarray) -> None:
        """[R] lengths -> the offsets [R + 1] of a group."""
        target = self.folder / group / "offsets.npy"
        target.parent.mkdir(parents=True, exist_ok=True)
        np.save(target, np.concatenate([[0], lengths.cumsum()]).astype(np.int64))

    def vocabulary(self, name: str, values: pl.Series) -> None:
        """The raw value of every id, in id order from the first real one."""
        target = self.folder / "vocabulary" / f"{name}.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        values.alias("value").to_frame().write_parquet(target)

    def names(self, values: pl.Series) -> None:
        """Who the users are, in the order of their index."""
        target = self.folder / "users" / "names.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        values.alias("value").to_frame().write_parquet(target)

    def scale(self, name: str, mean: float, deviation: float) -> None:
        """What a numeric feature was centred on and divided by."""
        self.scales[name] = (mean, deviation)

    def finish(self, digest: str, schema: Mapping[str, Any], counts: Mapping[str, Any]) -> None:
        """Write meta.json: a folder without it is not prepared."""
        scales = self.folder / "vocabulary" / "scales.json"
        scales.write_text(json.dumps(self.scales, indent=1), encoding="utf-8")
        arrays = {group: self.paths.get(group, {}) for group in ("history", "candidates", "users")}
        meta = {"digest": digest, "schema": schema, "counts": counts, "arrays": arrays}
        (self.folder / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")


def _head(file: IO[bytes], dtype: np.dtype[Any], rows: int) -> None:
    """The head of a .npy file; numpy keeps its length the same for any number of rows."""
    shape = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": (rows,),
    }
    np.lib.format.write_array_header_1_0(file, shape)
