"""Strict YAML to frozen settings: every mistake names its key. Pydantic does the checking."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError


class Settings(BaseModel):
    """A group of settings: frozen, unknown keys refused. Declared above the class it configures."""

    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=Settings)


class ConfigError(ValueError):
    """A setting that does not fit; each line starts with its dotted key."""


def load(schema: type[S], path: Path, overrides: Iterable[str] = ()) -> S:
    """Read `path`, apply `a.b=value` overrides, return a checked `schema`.

    Raises ConfigError for unreadable YAML and for any setting that does not fit.
    """
    return check(schema, read(path), overrides)


def read(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an empty file is an empty mapping. Raises ConfigError."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except (yaml.YAMLError, UnicodeDecodeError, IsADirectoryError) as error:
        raise ConfigError(f"{path}: not YAML text ({_first_line(error)})") from error
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: want a mapping of settings, got {type(raw).__name__}")
    return raw


def check(schema: type[S], raw: dict[str, Any], overrides: Iterable[str] = ()) -> S:
    """`raw` with overrides applied, as a checked `schema`. Raises ConfigError."""
    for override in overrides:
        dotted, equals, value = override.partition("=")
        if not equals:
            raise ConfigError(f"{override}: write overrides as a.b=value")
        raw = put(raw, dotted, _scalar(override, value))
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        raise ConfigError("\n".join(map(_line, error.errors()))) from error


def put(raw: dict[str, Any], dotted: str, value: Any) -> dict[str, Any]:
    """A copy of `raw` with one nested key set, as an override or a sweep does."""
    key, dot, rest = dotted.partition(".")
    if not dot:
        return {**raw, key: value}
    inner = raw.get(key, {})
    if not isinstance(inner, dict):
        raise ConfigError(f"{dotted}: {key} is {inner!r}, not a group of settings")
    return {**raw, key: put(inner, rest, value)}


def dump(config: Settings) -> str:
    """The YAML text that `load` reads back to an equal `config`."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _scalar(override: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{override}: not a YAML value ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


def _line(error: Any) -> str:
    key = ".".join(map(str, error["loc"])) or "config"
    got = "" if error["type"] == "value_error" else f", got {error['input']!r}"
    return f"{key}: {error['msg']}{got}"
