import hashlib

import polars as pl
import pytest

from recscale import data
from recscale.data.schema import DataError
from recscale.data.split import SplitConfig, assign

RATINGS = "1::31::5::978300760\n2::1::3::978300760\n1::1::4::978300019\n1::2::3::978300760\n"
MOVIES = "1::Toy Story (1995)::Animation|Comedy\n2::Caf\xe9::Drama\n31::Heat (1995)::Action\n"
USERS = "1::F::1::10::48067\n2::M::56::16::70072\n"
LEAVE_ONE_OUT = SplitConfig(protocol="leave_one_out")
# sha256 of the leave_one_out test targets, a line "user item" for each user in ascending order:
# with ties in the order of the reconstruction's `seq`, and in the order of ratings.dat's rows.
TARGETS_BY_SEQ = "5fa05a8618a82f875a42aa935ee3f8e438269417e377c86df1730879cf394a4a"
TARGETS_BY_ROW = "a33559789995091722e6f398b171c908aa253aa300aae744da684d38ce9cf4df"


def written(root, ratings=RATINGS, movies=MOVIES, users=USERS):
    folder = root / "ml-1m"
    folder.mkdir(exist_ok=True)
    for name, text in {"ratings": ratings, "movies": movies, "users": users}.items():
        (folder / f"{name}.dat").write_text(text, encoding="latin-1")
    return data.load(data.named("ml-1m"), root)


def test_the_publishers_files_are_read(tmp_path):
    log = written(tmp_path)
    assert log.events.collect().rows() == [
        (1, 31, 5, 978300760000, True),
        (2, 1, 3, 978300760000, True),
        (1, 1, 4, 978300019000, True),
        (1, 2, 3, 978300760000, True),
    ]
    assert log.items is not None and log.users is not None
    assert log.items.collect().rows()[:2] == [
        (1, ["Animation", "Comedy"], 1995),
        (2, ["Drama"], None),
    ]
    assert log.users.collect().rows()[1] == (2, "M", "56", "16")
    assert (log.rows_read, log.dropped, log.columns.labels) == (4, {}, ())


def test_ties_follow_the_row_of_the_ratings_file(tmp_path):
    split = assign(written(tmp_path), SplitConfig())
    assert split.events["item"].to_list() == [1, 31, 2, 1]


def test_lines_with_another_number_of_fields_are_counted(tmp_path):
    log = written(tmp_path, ratings=RATINGS + "3::1\n3::1::2::3::4\n\n")
    assert (log.rows_read, log.dropped) == (6, {"wrong number of fields": 2})


def test_text_for_a_rating_is_one_line(tmp_path):
    with pytest.raises(DataError, match="must be whole numbers"):
        written(tmp_path, ratings="1::31::good::978300760\n")


def test_a_missing_companion_file_is_named(tmp_path):
    written(tmp_path)
    (tmp_path / "ml-1m" / "users.dat").unlink()
    with pytest.raises(DataError, match=r"users\.dat: no such file"):
        data.load(data.named("ml-1m"), tmp_path)


def rendered(real_logs, root):
    """The publisher's ratings.dat, written from the reconstruction."""
    rebuilt = pl.read_parquet(real_logs / "ml-1m" / "ratings_reconstructed.parquet")
    lines = rebuilt.sort("row_in_ratings_dat").select(
        pl.concat_str("user", "item", "rating", "ts_filled", separator="::")
    )
    raw = real_logs / "ml-1m" / "raw"
    return written(
        root,
        "\n".join(lines.to_series()) + "\n",
        (raw / "movies.dat").read_text(encoding="latin-1"),
        (raw / "users.dat").read_text(encoding="latin-1"),
    )


def test_the_reconstruction_keeps_the_exact_order_of_each_user(real_logs):
    rebuilt = pl.read_parquet(real_logs / "ml-1m" / "ratings_reconstructed.parquet")
    split = assign(data.load(data.named("ml-1m"), real_logs), LEAVE_ONE_OUT)
    wanted = rebuilt.sort("user", "seq")
    assert split.events["item"].to_list() == wanted["item"].to_list()
    last = split.events.filter(pl.col("part") == 2)
    assert (
        last["item"].to_list()
        == wanted.group_by("user", maintain_order=True).last()["item"].to_list()
    )


def test_rendered_ratings_differ_from_the_reconstruction_only_within_ties(real_logs, tmp_path):
    raw = assign(rendered(real_logs, tmp_path), SplitConfig())
    rebuilt = assign(data.load(data.named("ml-1m"), real_logs), SplitConfig())
    assert raw.events.height == 1_000_209
    assert (raw.valid_from, raw.test_from) == (rebuilt.valid_from, rebuilt.test_from)
    for name in ["user", "time", "part", "prefix"]:
        assert raw.events[name].equals(rebuilt.events[name])
    key = ["user", "time", "item", "rating"]
    assert raw.events.select(key).sort(key).equals(rebuilt.events.select(key).sort(key))


def digest_of_targets(log):
    held_out = assign(log, LEAVE_ONE_OUT).events.filter(pl.col("part") == 2).sort("user")
    assert held_out["user"].to_list() == list(range(1, 6041))
    lines = [f"{user} {item}\n" for user, item in held_out.select("user", "item").iter_rows()]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def test_the_reconstructions_targets_have_the_published_digest(real_logs):
    """Hazard 15: 42 % of the users tie on their last second."""
    log = data.load(data.named("ml-1m"), real_logs)
    assert digest_of_targets(log) == TARGETS_BY_SEQ


def test_the_targets_of_ratings_dat_have_the_published_digest(real_logs, tmp_path):
    """Hazard 15: its rows are not in the order of time, so here the sort itself breaks the ties."""
    assert digest_of_targets(rendered(real_logs, tmp_path)) == TARGETS_BY_ROW


def test_the_100k_log_is_read(real_logs):
    log = data.load(data.named("ml-100k"), real_logs)
    assert (log.rows_read, log.dropped) == (100_000, {})
    assert log.items is not None and log.users is not None
    assert log.items.collect().row(0) == (1, ["Animation", "Children's", "Comedy"], 1995)
    assert log.users.collect().row(0) == (1, "M", "24", "technician")
    split = assign(log, LEAVE_ONE_OUT)
    assert split.events.filter(pl.col("part") == 2).height == 943
