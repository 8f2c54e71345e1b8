from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from recscale.configfile import ConfigError
from recscale.pipeline import Places
from recscale.scaling import sweep
from recscale.scaling.sweep import Trial
from tests.scaling.conftest import write


def trials(size: float, losses: dict[float, float]) -> list[Trial]:
    return [Trial(size, {"lr": lr}, loss) for lr, loss in losses.items()]


def test_the_rule_is_a_power_of_the_size():
    """Parabolas in ln(rate) around 0.01 at size 1 and 0.005 at size 4: power -1/2."""
    small = trials(1, {0.005: 1.0, 0.01: 0.5, 0.02: 1.0})
    large = trials(4, {0.0025: 1.0, 0.005: 0.5, 0.01: 1.0})
    found = sweep.rule(small + large, "lr")
    assert found.rate == pytest.approx(0.01)
    assert found.power == pytest.approx(-0.5)
    assert found.rejected == {}


def test_the_best_lies_between_grid_points_where_its_neighbours_are_uneven():
    """Losses 1, 0, 0.5 at ln-steps -1, 0, 1: the parabola 0.75 x^2 - 0.25 x turns at x = 1/6."""
    e = 2.718281828
    uneven = trials(1, {0.01 / e: 1.0, 0.01: 0.0, 0.01 * e: 0.5})
    found = sweep.rule(uneven + trials(2, {0.01 / e: 1.0, 0.01: 0.0, 0.01 * e: 1.0}), "lr")
    assert found.best[1] == pytest.approx(0.01 * e ** (1 / 6), rel=1e-6)


def test_a_size_whose_best_rate_lies_on_the_edge_is_rejected():
    inside = trials(1, {1.0: 2.0, 2.0: 1.0, 4.0: 2.0}) + trials(2, {1.0: 2.0, 2.0: 1.0, 4.0: 2.0})
    edge = trials(4, {1.0: 1.0, 2.0: 2.0, 4.0: 3.0})
    found = sweep.rule(inside + edge, "lr")
    assert found.power == pytest.approx(0)
    assert found.rejected == {4: "the best of 1 to 4 is 1"}
    with pytest.raises(ConfigError, match="1 sizes have their best rate inside the grid"):
        sweep.rule(trials(1, {1.0: 2.0, 2.0: 1.0, 4.0: 2.0}) + edge, "lr")


def test_a_rate_that_diverged_is_only_worse():
    diverged = {1.0: 2.0, 2.0: 1.0, 4.0: float("inf")}
    found = sweep.rule(trials(1, diverged) + trials(2, diverged), "lr")
    assert found.rate == pytest.approx(2.0)


def test_a_sweep_runs_its_grid_once_and_leaves_its_rule(tmp_path: Path):
    write(tmp_path, loss="logloss")
    settings = {"ladder": "tiny.yaml", "sizes": [2, 4], "history": 4}
    settings["rates"] = {"lr": [1e-9, 0.1, 1e30]}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(settings))
    config, rungs = sweep.load(tmp_path / "sweep.yaml")
    places = Places(tmp_path, tmp_path / "prepared")
    told = sweep.run(config, rungs, tmp_path / "out", places)
    assert len(told["dcnv2"]["trials"]) == 6
    assert 1e-9 < told["dcnv2"]["rates"]["lr"]["best"]["2"] < 1e30
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("record.json")}
    assert sweep.run(config, rungs, tmp_path / "out", places) == told
    assert {p: p.stat().st_mtime_ns for p in before} == before
    kept = yaml.safe_load((tmp_path / "out" / "best.yaml").read_text())
    assert kept["dcnv2"]["rates"] == told["dcnv2"]["rates"]


def test_rates_that_leave_no_inside_are_refused(tmp_path: Path):
    write(tmp_path)
    settings = {"ladder": "tiny.yaml", "sizes": [1, 2], "history": 4, "rates": {"lr": [1, 2]}}
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(ConfigError, match=r"rates\.lr: want three rising rates"):
        sweep.load(tmp_path / "sweep.yaml")


def test_rates_are_told_apart_each_with_the_best_of_the_other():
    """On a grid of two rates the loss is the sum of two parabolas, around 2 and 4."""
    grid = [(a, b) for a in (1.0, 2.0, 4.0) for b in (2.0, 4.0, 8.0)]
    made = [
        Trial(size, {"lr": a, "weight_decay": b}, float(a != 2) + float(b != 4))
        for size in (1, 2)
        for a, b in grid
    ]
    assert sweep.rule(made, "lr").rate == pytest.approx(2)
    assert sweep.rule(made, "weight_decay").rate == pytest.approx(4)
