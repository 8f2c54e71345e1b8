"""MovieLens 1M and 100K, as GroupLens publishes them. Ratings are events, not labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import polars as pl

from recscale.data.clean import add, clean
from recscale.data.download import ML_1M, ML_100K, fetch
from recscale.data.files import RAGGED, read_lines, read_parquet
from recscale.data.history import SourceSettings, in_history
from recscale.data.schema import ITEM, TIME, USER, Columns, DataError, Log

COLUMNS = Columns(
    item={"genres": "multi", "year": "categorical"},
    user={"gender": "categorical", "age": "categorical", "occupation": "categorical"},
    event={"rating": "categorical"},
)
GENRES = ["unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime",
          "Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance",
          "Sci-Fi", "Thriller", "War", "Western"]  # fmt: skip
NUMBERS = [USER, ITEM, "rating"]


class MovieLens1M(SourceSettings):
    """A million ratings of 3,706 films by 6,040 users, 2000 to 2003."""

    source: Literal["ml-1m"] = "ml-1m"


class MovieLens100K(SourceSettings):
    """A hundred thousand ratings of 1,682 films by 943 users, 1997 to 1998."""

    source: Literal["ml-100k"] = "ml-100k"


def read_1m(config: MovieLens1M, root: Path) -> Log:
    """ml-1m/ under `root`, downloaded where absent. Raises DataError.

    Ties in time (most users rate whole pages in one second) are broken by the row of ratings.dat.
    ratings_reconstructed.parquet stands in where ratings.dat is absent; its `seq` is the order of
    events within a user, and becomes the row order, because its filled-in times tie more often.
    """
    folder = root / "ml-1m"
    found = _find(folder, "ratings.dat")
    rebuilt = folder / "ratings_reconstructed.parquet"
    if found is None and rebuilt.exists():
        ratings, ragged = _rebuilt(rebuilt), 0
        source, about = rebuilt, _find(folder, "movies.dat") or folder / "movies.dat"
    else:
        source = about = found or fetch(ML_1M, root) / "ratings.dat"
        ratings, ragged = read_lines(source, "::", [USER, ITEM, "rating", TIME])
    movies, _ = read_lines(about.with_name("movies.dat"), "::", [ITEM, "title", "genres"])
    users, _ = read_lines(
        about.with_name("users.dat"), "::", [USER, "gender", "age", "occupation", "zip"]
    )
    items = movies.select(
        pl.col(ITEM).cast(pl.Int32), pl.col("genres").str.split("|"), _year(pl.col("title"))
    )
    files = (source, about.with_name("movies.dat"), about.with_name("users.dat"))
    return _log(config, ratings, {RAGGED: ragged}, (items, _people(users)), files)


def read_100k(config: MovieLens100K, root: Path) -> Log:
    """ml-100k/ under `root`, downloaded where absent. Raises DataError."""
    found = _find(root / "ml-100k", "u.data") or fetch(ML_100K, root) / "u.data"
    ratings, ragged = read_lines(found, "\t", [USER, ITEM, "rating", TIME])
    films, _ = read_lines(
        found.with_name("u.item"), "|", [ITEM, "title", "released", "video", "url", *GENRES]
    )
    users, _ = read_lines(
        found.with_name("u.user"), "|", [USER, "age", "gender", "occupation", "zip"]
    )
    genres = pl.concat_list(
        pl.when(pl.col(name) == "1").then(pl.lit(name)) for name in GENRES
    ).list.drop_nulls()
    items = films.select(
        pl.col(ITEM).cast(pl.Int32), genres.alias("genres"), _year(pl.col("title"))
    )
    files = (found, found.with_name("u.item"), found.with_name("u.user"))
    return _log(config, ratings, {RAGGED: ragged}, (items, _people(users)), files)


def _log(
    config: SourceSettings,
    ratings: pl.DataFrame,
    before: Mapping[str, int],
    about: tuple[pl.DataFrame, pl.DataFrame],
    files: tuple[Path, ...],
) -> Log:
    events, dropped = clean(ratings, str(files[0]), "s")
    items, users = about
    try:
        events = events.with_columns(pl.col(NUMBERS).cast(pl.Int32))
    except pl.exceptions.InvalidOperationError as error:
        raise DataError(f"{files[0]}: user, item and rating must be whole numbers") from error
    return Log(
        events=events.lazy().with_columns(in_history(config, ())),
        items=items.lazy(),
        users=users.lazy(),
        columns=COLUMNS,
        rows_read=ratings.height + sum(before.values()),
        dropped=add(before, dropped),
        files=tuple(map(str, files)),
    )


def _find(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / "raw" / name) if path.exists()), None)


def _rebuilt(path: Path) -> pl.DataFrame:
    rows = read_parquet(path, [USER, ITEM, "rating", "ts_filled", "seq"])
    return rows.sort(USER, "seq").select(USER, ITEM, "rating", pl.col("ts_filled").alias(TIME))


def _people(users: pl.DataFrame) -> pl.DataFrame:
    return users.select(pl.col(USER).cast(pl.Int32), "gender", "age", "occupation")


def _year(title: pl.Expr) -> pl.Expr:
    """The year in "Heat (1995)"; null where a title has none."""
    return title.str.extract(r"\((\d{4})\)\s*$").cast(pl.Int32).alias("year")
