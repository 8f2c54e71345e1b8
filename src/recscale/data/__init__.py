"""Behaviour logs: raw files in, one checked Log out, cut once into train, valid and test."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from recscale.data.schema import DataError, Log
from recscale.data.sources import ebnerd, kuairand, mind, movielens, table, taobao_ad
from recscale.data.sources.ebnerd import Ebnerd
from recscale.data.sources.kuairand import KuaiRandPure
from recscale.data.sources.mind import Mind
from recscale.data.sources.movielens import MovieLens1M, MovieLens100K
from recscale.data.sources.synthetic import read as read_synthetic
from recscale.data.sources.table import TableConfig
from recscale.data.sources.taobao_ad import TaobaoAd
from recscale.data.split import Split, SplitConfig, assign
from recscale.data.synthetic import SyntheticConfig

__all__ = ["DataConfig", "DataError", "Log", "Split", "SplitConfig", "assign", "load", "named"]

DataConfig = Annotated[
    MovieLens1M
    | MovieLens100K
    | KuaiRandPure
    | Mind
    | Ebnerd
    | TaobaoAd
    | TableConfig
    | SyntheticConfig,
    Field(discriminator="source"),
]
# These need no mapping of columns.
NAMED = ("ml-1m", "ml-100k", "kuairand-pure", "mind", "ebnerd", "taobao-ad", "synthetic")


def load(config: DataConfig, root: Path, room: Path | None = None) -> Log:
    """The log that `config` describes; raw data lies, or is put, under `root`. Raises DataError.

    With an empty folder `room` to work in, a table may be larger than memory.
    """
    match config:
        case MovieLens1M():
            return movielens.read_1m(config, root)
        case MovieLens100K():
            return movielens.read_100k(config, root)
        case KuaiRandPure() | Mind() | Ebnerd() | TaobaoAd():
            return _load_exposures(config, root)
        case TableConfig():
            return table.read(config, root, room)
        case SyntheticConfig():
            return read_synthetic(config, root)


def _load_exposures(config: KuaiRandPure | Mind | Ebnerd | TaobaoAd, root: Path) -> Log:
    """Logs of what was shown, whether it was clicked or not."""
    match config:
        case KuaiRandPure():
            return kuairand.read(config, root)
        case Mind():
            return mind.read(config, root)
        case Ebnerd():
            return ebnerd.read(config, root)
        case TaobaoAd():
            return taobao_ad.read(config, root)


def named(source: str) -> DataConfig:
    """The settings of a log that needs none but its name. Raises DataError."""
    if source not in NAMED:
        raise DataError(f"source {source}: want one of {', '.join(NAMED)}, or a file of settings")
    config: DataConfig = TypeAdapter[DataConfig](DataConfig).validate_python({"source": source})
    return config
