from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from recscale import record
from recscale.configfile import ConfigError
from recscale.pipeline import Places
from recscale.scaling import ladder, plan, sweep
from recscale.scaling.ladder import Rung, run_config
from recscale.scaling.recipe import Recipe
from tests.scaling.conftest import TINY, write

LADDERS = sorted((Path(__file__).parents[2] / "configs").glob("ladder_*.yaml"))
SWEEPS = sorted((Path(__file__).parents[2] / "configs").glob("sweep_*.yaml"))


def test_a_rung_is_a_function_of_its_dials_alone(tmp_path: Path):
    config = ladder.load(write(tmp_path)).config
    rung = Rung("dcnv2", 4, 4, 0.5, 1.0, 7)
    found = run_config(config, rung)
    assert found == run_config(config, rung)
    assert found.model.model_dump()["width"] == 8
    assert found.model.model_dump()["crosses"] == 2  # 1 * 4^0.5
    assert found.training.lr == pytest.approx(1e-3 / 2)  # * 4^-0.5
    assert (found.training.users, found.training.steps, found.seed) == (0.5, 4, 7)
    assert found.features.history == 4
    assert rung.name == "dcnv2-x4-h4-u0.5-s7"


def test_a_step_holds_as_many_targets_whatever_the_history():
    """Windows of `history` events overlap by half: a row brings (history + 1) / 2 new targets."""
    recipe = Recipe(model={"name": "hstu"}, targets=1000)
    rows = {h: recipe.training_at(1, h, 1.0)["batch_size"] for h in (9, 49, 99)}
    assert rows == {9: 200, 49: 40, 99: 20}


def test_heads_divide_every_width():
    recipe = Recipe(model={"name": "hstu"}, width=10, head_width=8)
    for size in (0.5, 1, 2, 3, 5):
        grown = recipe.model_at(size)
        assert grown["width"] % grown["heads"] == 0


def test_smallest_rungs_come_first_and_held_out_ones_are_not_fitted(tmp_path: Path):
    grids = [*TINY["grids"], {"sizes": [6], "histories": [4]}]  # type: ignore[misc]
    found = ladder.load(write(tmp_path, grids=grids))
    assert [r.name for r in found.fitted] == [
        "dcnv2-x1-h4-s0",
        "dcnv2-x1-h4-s1",
        "dcnv2-x2-h4-s0",
        "dcnv2-x4-h4-s0",
    ]
    assert [r.name for r in found.held_out] == ["dcnv2-x6-h4-s0"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"families": {"x": {"model": {"name": "popularity"}}}}, "no rule says how popularity"),
        ({"families": {"x": {"model": {"name": "din", "wide": 3}}}}, r"rung x-x1-h4-s0: .*wide"),
        ({"grids": [{"sizes": [0], "histories": [4]}]}, r"grids\.0\.sizes\.0"),
        ({"grids": TINY["held_out"]}, "no rung is left that is not held out"),
        ({"loss": "hr@10"}, "loss"),
        (
            {"run": {**TINY["run"], "evaluation": {"seen": "removed"}},  # type: ignore[dict-item]
             "grids": [{"sizes": [1], "histories": [4, 8]}]},
            "would rank against different items",
        ),
    ],
)  # fmt: skip
def test_a_wrong_ladder_is_told_in_one_line(
    changes: dict[str, object], message: str, tmp_path: Path
):
    with pytest.raises(ConfigError, match=message) as error:
        ladder.load(write(tmp_path, **changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", LADDERS, ids=lambda path: path.stem)
def test_every_shipped_ladder_is_valid_short_and_says_what_to_expect(path: Path):
    found = ladder.load(path)
    assert len({rung.size for rung in (*found.fitted, *found.held_out)}) >= 5
    assert len(path.read_text().splitlines()) <= 40
    assert path.read_text().startswith("# expected: ")


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_shipped_sweep_is_valid(path: Path):
    sweep.load(path)
    assert path.read_text().startswith("# expected: ")


def test_a_plan_counts_what_a_run_then_has(climbed):
    """Parameters exactly, compute but for the last short batch of an epoch."""
    found, site = climbed
    rung = found.fitted[0]
    expected = plan.estimate(found, rung, site.places, timed=True)
    told = record.read(site.out / rung.name)
    groups = told["cost"]["parameters"]
    assert {name: getattr(expected, name) for name in groups} == groups
    assert sum(groups.values()) == told["cost"]["dense_params"] + told["cost"]["embedding_params"]
    assert expected.distinct_events == told["train"]["distinct_events"]
    assert expected.train_flops == pytest.approx(told["cost"]["train_flops"], rel=0.15)
    assert expected.seconds is not None
    assert expected.seconds > 0


def test_shares_of_a_ladder_reach_the_training(tmp_path: Path, climbed):
    _, site = climbed
    raw = yaml.safe_load(write(tmp_path).read_text())
    raw["grids"] = [{"sizes": [1], "histories": [4], "users": [0.5, 1.0]}]
    found = ladder.load(write(tmp_path, **raw))
    half, whole = plan.plan(
        found, found.fitted, Places(site.places.raw, site.places.prepared), timed=False
    )
    assert 0.3 < half.distinct_events / whole.distinct_events < 0.7
