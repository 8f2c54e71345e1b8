import json
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from recscale import data
from recscale.data import synthetic
from recscale.data.aside import whole_folder
from recscale.data.schema import DataError
from recscale.data.simulate import Session, World, calibrated, simulate
from recscale.data.synthetic import SyntheticConfig, generate

SMALL = SyntheticConfig(users=300, items=80, events_per_user=30, categories=5)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    files = generate(SMALL, tmp_path_factory.mktemp("data"))
    events = pl.concat(pl.read_parquet(path) for path in files.events)
    users = pl.concat(pl.read_parquet(path) for path in files.users)
    return events, pl.read_parquet(files.items), users, json.loads(files.truth.read_text())


def test_click_probability_follows_the_planted_equation(made):
    events, items, users, truth = made
    item = {row["item"]: row for row in items.iter_rows(named=True)}
    for user, taste in users.head(5).select("user", "taste").iter_rows():
        past: list[tuple[int, int]] = []
        for row in events.filter(pl.col("user") == user).iter_rows(named=True):
            now, category = row["time"], item[row["item"]]["category"]
            half_life_ms = truth["half_life_minutes"][category] * 60_000
            faded = sum(2 ** ((t - now) / half_life_ms) for t, c in past if c == category)
            affinity = taste[category] + truth["boost"] * np.log2(1 + faded)
            logit = truth["bias"] + truth["scale"] * affinity + item[row["item"]]["quality"]
            assert row["click_probability"] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-4)
            if row["click"]:
                past.append((now, category))


def test_half_lives_are_log_spaced_from_minutes_to_weeks(made):
    half_life = made[3]["half_life_minutes"]
    assert (half_life[0], half_life[-1]) == pytest.approx((10, 14 * 24 * 60))
    assert np.diff(np.log(half_life)) == pytest.approx([np.log(2016) / 4] * 4)


def test_every_age_from_minutes_to_weeks_is_common(made):
    """A half-life between two ages that pairs of events have could not be told from another."""
    events = made[0].with_columns(gap=pl.col("time").diff().over("user") / 60_000)
    gaps = events["gap"].drop_nulls()
    octaves = np.histogram(gaps, 4.0 ** np.arange(0, 8))[0]
    assert (octaves > 20).all(), octaves


def test_clicks_are_drawn_with_their_stored_probability(made):
    events = made[0]
    for low in [0.0, 0.2, 0.5]:
        near = events.filter(pl.col("click_probability").is_between(low, low + 0.3))
        spread = 4 * (0.25 / near.height) ** 0.5
        assert near["click"].mean() == pytest.approx(near["click_probability"].mean(), abs=spread)


def test_a_third_is_clicked_and_the_truth_tells_clicks_apart(tmp_path):
    files = generate(SyntheticConfig(), tmp_path)
    events = pl.concat(pl.read_parquet(path) for path in files.events)
    assert 70_000 < events.height < 90_000
    assert 0.2 < events["click"].mean() < 0.4
    assert roc_auc_score(events["click"], events["click_probability"]) > 0.75
    assert events["time"].max() - events["time"].min() <= 30 * 86_400_000


def test_recent_clicks_decide_the_category_shown_next(made):
    events, items, _, _ = made
    shown = events.join(items, on="item", maintain_order="left")
    after = shown.with_columns(
        last=pl.col("category").shift().over("user"), acted=pl.col("click").shift().over("user")
    ).drop_nulls()
    same = after.group_by("acted").agg((pl.col("last") == pl.col("category")).mean()).sort("acted")
    skipped, clicked = same["last"]
    assert clicked > skipped + 0.1


def test_the_log_is_in_user_and_time_order_with_every_user(made):
    events = made[0]
    assert events.equals(events.sort("user", "time", maintain_order=True))
    assert events["user"].unique().to_list() == list(range(300))
    assert made[3]["events"] == events.height


def test_same_settings_give_the_same_bytes_whatever_the_threads(tmp_path):
    code = (
        "from pathlib import Path; import sys; from recscale.data.synthetic import *;"
        "generate(SyntheticConfig(users=200, events_per_user=20), Path(sys.argv[1]))"
    )
    contents = []
    for threads in ["1", "3"]:
        folder = tmp_path / threads
        env = {**os.environ, "POLARS_MAX_THREADS": threads, "OMP_NUM_THREADS": threads}
        subprocess.run([sys.executable, "-c", code, str(folder)], env=env, check=True)
        contents.append({p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()})
    assert contents[0] == contents[1]
    assert {"events-00000.parquet", "truth.json"} <= contents[0].keys()


def test_a_log_is_made_once_and_another_seed_is_another_log(tmp_path):
    first = generate(SMALL, tmp_path)
    stamp = first.truth.stat().st_mtime_ns
    assert generate(SMALL.model_copy(update={"history": "positive"}), tmp_path) == first
    assert first.truth.stat().st_mtime_ns == stamp
    other = generate(SMALL.model_copy(update={"seed": 1}), tmp_path)
    assert other.folder != first.folder
    assert other.events[0].read_bytes() != first.events[0].read_bytes()


def test_large_logs_are_written_in_blocks_of_users(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "EVENTS_PER_BLOCK", 3_000)
    files = generate(SMALL, tmp_path)
    assert len(files.events) == 3
    users = pl.scan_parquet(files.events).select("user").unique().collect()
    assert users.height == SMALL.users


def test_an_interrupted_run_leaves_nothing_behind(tmp_path):
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "log") as aside:
        (aside / "half").write_text("written")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_whoever_finishes_a_folder_first_is_kept(tmp_path):
    with whole_folder(tmp_path / "log") as slow:
        (slow / "by").write_text("slow")
        with whole_folder(tmp_path / "log") as fast:
            (fast / "by").write_text("fast")
    assert [path.read_text() for path in tmp_path.rglob("by")] == ["fast"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "synthetic").write_text("a file is in the way")
    with pytest.raises(DataError, match="cannot write there"):
        generate(SMALL, tmp_path)


def test_categories_without_items_are_never_shown(tmp_path):
    log = data.load(SMALL.model_copy(update={"items": 3, "categories": 40}), tmp_path)
    assert log.items is not None
    shown = set(log.events.select("item").unique().collect()["item"])
    assert shown <= set(log.items.collect()["item"])


def test_models_see_no_truth(tmp_path):
    log = data.load(SMALL, tmp_path)
    assert log.events.collect_schema().names() == [
        "user", "item", "time", "click", "clicked", "hour", "in_history"
    ]  # fmt: skip
    assert log.items is not None and log.items.collect_schema().names() == ["item", "category"]
    assert log.rows_read == log.events.collect().height


def test_calibration_reaches_the_wanted_click_rate():
    world = World(
        item_ids=np.arange(4, dtype=np.int32),
        item_category=np.array([0, 0, 1, 1], dtype=np.int32),
        quality=np.zeros(4, dtype=np.float32),
        popularity=np.array([0.0, 1, 2, 3, 4]),
        category_end=np.array([2, 4]),
        half_life_seconds=np.array([600.0, 86_400.0]),
        bias=0.0,
        boost=0.5,
    )
    sessions = Session(window_seconds=86_400, mean_events=50)
    for rate in [0.1, 0.5]:
        found = calibrated(world, rate, sessions, [1])
        clicks = simulate(found, 400, sessions, np.random.default_rng(2)).click.mean()
        assert clicks == pytest.approx(rate, abs=0.05)
