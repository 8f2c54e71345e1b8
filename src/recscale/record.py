"""The record of a run: what was done and what came of it, one JSON file that other tools read.

What a run did not measure is absent, never 0.
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from recscale import __version__
from recscale.types import Cost, Record

FILE = "record.json"
MEMBERS = "members"  # in the folder of a combiner: the runs of members that it trained itself
# Dotted key -> the JSON type that it must have. The parts not named here may be absent.
REQUIRED: Mapping[str, type] = {
    "name": str,
    "version": str,
    "seed": int,
    "config": dict,
    "config.model": dict,
    "config.model.name": str,
    "data": dict,
    "data.digest": str,
    "machine": dict,
}
PARTS = ("data", "cost", "train", "metrics", "latency", "load")


class RecordError(ValueError):
    """A record that cannot be used: one line that names the file and the key."""


def build(  # noqa: PLR0913, one argument for each part of the file
    *,
    name: str,
    seed: int,
    config: Mapping[str, Any],
    data: Mapping[str, Any],
    machine: Mapping[str, Any],
    cost: Cost | None = None,
    parameters: Mapping[str, int] | None = None,
    train_flops: int | None = None,
    train: Mapping[str, Any] | None = None,
) -> Record:
    """A record before `metrics` and `latency`; what is None was not measured and is left out."""
    counted = (
        None
        if cost is None
        else {
            **asdict(cost),
            "parameters": parameters,
            "train_flops": train_flops,
        }
    )
    head = {"name": name, "version": __version__, "commit": commit(), "seed": seed}
    return {
        **_without_none(head),
        "config": dict(config),
        **_without_none({"data": data, "cost": counted, "train": train}),
        "machine": dict(machine),
    }


def write(record: Record, folder: Path) -> None:
    """Write `record` into `folder`, whole: aside first, then renamed. Raises RecordError."""
    path = folder / FILE
    _check(record, path)
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{os.getpid()}.{FILE}"
    aside.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    aside.replace(path)


def read(folder: Path) -> Record:
    """The record of a run folder. Raises RecordError when it is missing or broken."""
    path = folder / FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecordError(f"{path}: no such file") from error
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise RecordError(f"{path}: not JSON ({' '.join(str(error).split())})") from error
    if not isinstance(record, dict):
        raise RecordError(f"{path}: want an object, got {type(record).__name__}")
    _check(record, path)
    return record


def runs(folder: Path) -> list[Path]:
    """The run folders in and under `folder`, those of a combiner's members left out."""
    found = sorted(path.parent for path in folder.rglob(FILE))
    return [run for run in found if MEMBERS not in run.relative_to(folder).parts]


def machine(precision: str = "float32") -> dict[str, Any]:
    """What the numbers were made on."""
    return {
        "cpu": _cpu(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "precision": precision,
    }


def commit() -> str | None:
    """Short hash of the code that runs, "+dirty" where it was changed since; None outside git."""
    folder = Path(__file__).parent
    # An installed package may lie inside somebody else's repository: ask for this very file.
    if _git(folder, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    short = _git(folder, "rev-parse", "--short", "HEAD")
    return f"{short}+dirty" if short and _git(folder, "status", "--porcelain", "--", ".") else short


def _check(record: Mapping[str, Any], path: Path) -> None:
    for key, want in REQUIRED.items():
        _require(record, key, want, path)
    for part in PARTS:
        if part in record:
            _require(record, part, dict, path)
    for key, value in _leaves(record):
        if isinstance(value, float) and not math.isfinite(value):
            raise RecordError(f"{path}: {key}: want a number, got {value}")


def _require(record: Mapping[str, Any], key: str, want: type, path: Path) -> None:
    value: Any = record
    for part in key.split("."):
        if part not in value:
            raise RecordError(f"{path}: {key}: missing")
        value = value[part]
    if not isinstance(value, want) or isinstance(value, bool):
        raise RecordError(f"{path}: {key}: want {want.__name__}, got {value!r}")


def _leaves(value: Any, key: str = "") -> list[tuple[str, Any]]:
    """Every value below with its dotted key."""
    if isinstance(value, Mapping):
        parts = value.items()
    elif isinstance(value, list | tuple):
        parts = enumerate(value)
    else:
        return [(key, value)]
    return [leaf for name, part in parts for leaf in _leaves(part, f"{key}.{name}".lstrip("."))]


def _without_none(group: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in group.items()
        if value is not None
    }


def _cpu() -> str:
    """The processor's model; Linux keeps it in a file, others tell `platform`."""
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(folder: Path, *command: str) -> str | None:
    """What git says; None where there is no git or it refuses."""
    try:
        told = subprocess.run(
            ["git", "-C", str(folder), *command], capture_output=True, text=True, check=True
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return told.stdout.strip()
