"""What a page says of combinations: each rule on made-up runs that set it off."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recscale.evaluation.context import Context
from recscale.evaluation.predictions import Predictions, Retrieval, save
from recscale.report import budgets, combined, curves, differences, findings, page, slices, slopes
from recscale.report.families import family_of
from recscale.report.groups import group

Record = dict[str, Any]
N = 60  # users with one event each
MEMBERS = {
    "din": {},
    "hstu": {},
    "fusion": {"a": {"model": {"name": "hstu"}}, "b": {"model": {"name": "din"}}},
    "twins": {"a": {"model": {"name": "hstu"}}, "b": {"model": {"name": "hstu"}}},
}


def rank_of(ndcg: float) -> float:
    return 2 ** (1 / ndcg) - 1


def run(tmp_path: Path, name: str, ndcg: float, seed: int = 0, **parts: Any) -> Record:
    """A run whose every target has the same ndcg@10, but for a little that users share."""
    model = "fusion" if name == "twins" else name
    rank = np.array([rank_of(ndcg + 0.01 * np.sin(i)) for i in range(N)])
    zero, lists = np.zeros(N), np.full((N, 10), 5)
    ids = np.arange(N)
    said = Retrieval(ids, np.full(N, 9), rank, zero, zero > 0, lists, lists > 9)
    about = Context(ids, ids / 2.0, N - ids, ids < 30)
    folder = tmp_path / f"{name}-s{seed}"
    folder.mkdir()
    save(Predictions(said, None, about), folder)
    config = {"data": {"source": "x"}, "split": {}, "evaluation": {}, "features": {"history": 50}}
    return {
        "name": folder.name, "version": "0", "seed": seed,
        "config": {**config, "model": {"name": model}, "members": MEMBERS[name], "seed": seed},
        "data": {"digest": "d"}, "machine": {},
        "cost": {"flops_per_request": 10, "train_flops": 5, "dense_params": 7,
                 "embedding_params": 3, **parts.pop("cost", {})},
        "metrics": {"retrieval": {"ndcg@10": ndcg}}, **parts,
    }  # fmt: skip


def told(tmp_path: Path, **ndcg: float) -> str:
    records = [run(tmp_path, name, value) for name, value in ndcg.items()]
    groups = group(records)
    table = differences.resample(groups, {r["name"]: tmp_path / r["name"] for r in records})
    return " ".join(findings.paragraphs(groups, table))


def test_a_pair_ahead_of_all_single_models_and_of_its_control_won(tmp_path: Path):
    text = told(tmp_path, hstu=0.5, din=0.4, fusion=0.6, twins=0.55)
    assert "On ndcg@10 the pair won: fusion is +0.1000" in text
    assert "above hstu, the best single model" in text
    assert "above twins, the best of two models of one family" in text
    assert "more than a second opinion" in text


def test_a_pair_behind_a_single_model_lost(tmp_path: Path):
    text = told(tmp_path, hstu=0.5, din=0.4, fusion=0.45, twins=0.55)
    assert "the pair lost: fusion is −0.0500" in text
    assert "Two models of one family do better: it is −0.1000" in text
    assert "won" not in text


def test_a_pair_within_noise_did_not_win(tmp_path: Path):
    text = told(tmp_path, hstu=0.5, din=0.4, fusion=0.5, twins=0.5)
    assert "the pair did not win: fusion is +0.0000 [+0.0000, +0.0000] from hstu" in text
    assert "within noise, so nothing here is owed to their being of two kinds" in text


def test_without_a_control_the_question_stays_open(tmp_path: Path):
    text = told(tmp_path, hstu=0.5, fusion=0.6)
    assert "whether it takes two kinds is open" in text


def test_nothing_is_said_without_a_pair_or_without_a_single_model(tmp_path: Path):
    assert told(tmp_path, hstu=0.5, din=0.4) == ""
    assert told(tmp_path, fusion=0.5) == ""


def test_seeds_that_differ_more_than_models_are_no_win(tmp_path: Path):
    records = [
        run(tmp_path, name, value, seed)
        for name, values in {"hstu": (0.3, 0.6), "fusion": (0.35, 0.65)}.items()
        for seed, value in enumerate(values)
    ]
    groups = group(records)
    table = differences.resample(groups, {r["name"]: tmp_path / r["name"] for r in records})
    pair, single = sorted(groups, key=lambda g: g.name)
    outcome, gap = findings.compared("ndcg@10", pair, single, table)
    assert gap.low > 0  # every user agrees
    assert outcome == "level"


def test_the_more_pairs_are_tried_the_wider_the_interval(tmp_path: Path):
    table = {"ndcg@10": {}}
    records = [run(tmp_path, "hstu", 0.5), run(tmp_path, "fusion", 0.5)]
    rows = np.random.default_rng(0).normal(size=(2, 1000))
    for record, draws in zip(group(records), rows, strict=True):
        table["ndcg@10"][record.name] = differences.Resampled(0.0, draws, N, 0)
    pair, single = sorted(group(records), key=lambda g: g.name)
    one, five = (findings.compared("ndcg@10", pair, single, table, n)[1] for n in (1, 5))
    assert five.low < one.low < one.high < five.high


def test_the_cost_of_the_pair_is_told(tmp_path: Path):
    records = [
        run(tmp_path, "hstu", 0.5),
        run(tmp_path, "fusion", 0.6, cost={"flops_per_request": 25, "train_flops": 10}),
    ]
    groups = group(records)
    table = differences.resample(groups, {r["name"]: tmp_path / r["name"] for r in records})
    assert (
        "It takes 2.5 times the FLOPs per request and 2.0 times the FLOPs in training."
        in (findings.paragraphs(groups, table)[0])
    )


def test_members_of_one_family_make_twins():
    assert family_of({"model": {"name": "fusion"}, "members": MEMBERS["twins"]}) == "twins"
    assert family_of({"model": {"name": "fusion"}, "members": MEMBERS["fusion"]}) == "together"
    taught = {"teacher": {"model": {"name": "hstu"}}}
    assert family_of({"model": {"name": "distilled"}, "members": taught}) == "together"
    assert family_of({"model": {"name": "din"}}) == "ctr"


def test_a_rival_costs_no_more_than_the_pair(tmp_path: Path):
    records = [
        run(tmp_path, "hstu", 0.7, cost={"flops_per_request": 100}),
        run(tmp_path, "din", 0.5, cost={"flops_per_request": 21}),
        run(tmp_path, "fusion", 0.6, cost={"flops_per_request": 20}),
    ]
    groups = group(records)
    table = differences.resample(groups, {r["name"]: tmp_path / r["name"] for r in records})
    pair = next(g for g in groups if g.name == "fusion")
    found = budgets.rivals(pair, groups, "ndcg@10", table)
    assert found["FLOPs a request"].name == "din"  # hstu is better, and five times as dear
    assert found["FLOPs a request"].cost == pytest.approx(1.05)
    assert found["FLOPs a request"].gap.mean == pytest.approx(0.1)
    assert found["parameters"].name == "hstu"
    assert "p99" not in found  # never timed


def test_slices_are_thirds_of_the_events_and_the_two_kinds_of_transition(tmp_path: Path):
    records = [run(tmp_path, "hstu", 0.5), run(tmp_path, "fusion", 0.6)]
    folders = {r["name"]: tmp_path / r["name"] for r in records}
    parts = slices.slices(group(records), folders)
    titles = [part.title for part in parts]
    assert titles == ["transition in training", "transition not in training"]  # thirds: too few
    assert [part.events for part in parts] == [30, 30]
    assert slices.gaps(parts[0], "fusion", "hstu").mean == pytest.approx(0.1)


def test_thirds_of_values_that_tie_are_fewer():
    about = Context(
        np.array([0, 0, 0, 0, 5, 9]), np.array([1, 2, 3, 4, np.nan, np.nan]),
        np.ones(6, int), np.ones(6) > 0,
    )  # fmt: skip
    found = {title: chosen.tolist() for title, chosen in slices.masks(about)}
    assert found["history to 0 events"] == [True] * 4 + [False] * 2
    assert found["history over 0 events"] == [False] * 4 + [True] * 2
    assert found["item not in training"] == [False] * 4 + [True] * 2
    assert not any("user's" in title for title in found)  # all alike: no slice
    ages = [chosen for title, chosen in found.items() if title.startswith("item age")]
    assert np.sum(ages, axis=0).tolist() == [1, 1, 1, 1, 0, 0]


def ladder(slope: float, noise: float = 0.0, draw: int = 0) -> list[Record]:
    generator = np.random.default_rng(draw)
    return [
        {
            "name": f"{params}-{history}-{seed}",
            "seed": seed,
            "config": {"model": {"name": "hstu"}, "features": {"history": history}},
            "cost": {"dense_params": params},
            "data": {"train": 1000},
            "metrics": {
                "behaviour": {
                    "repeat_bias": slope * np.log(params)
                    - 0.02 * np.log(history)
                    + noise * generator.normal()
                }
            },
        }
        for params in (1e3, 1e4, 1e5)
        for history in (10, 100)
        for seed in range(3)
    ]


def test_slopes_are_those_of_the_planted_law_each_with_the_other_axis_held():
    found = {s.axis: s for s in slopes.slopes(ladder(0.05))}
    assert found.keys() == {"parameters", "history"}  # the data does not differ
    assert found["parameters"].value == pytest.approx(0.05)
    assert found["history"].value == pytest.approx(-0.02)
    assert found["parameters"].low == pytest.approx(0.05)


def test_the_interval_of_a_slope_holds_what_was_planted():
    found = [
        next(s for s in slopes.slopes(ladder(0.05, 0.04, seed)) if s.axis == "parameters")
        for seed in range(12)
    ]
    assert sum(s.low < 0.05 < s.high for s in found) >= 10  # 95 % of 12 are 11.4
    assert all(s.low > 0 for s in found)  # and none would call it no law


def test_too_few_runs_have_no_slope():
    assert slopes.slopes(ladder(0.05)[:1]) == []
    same = [run for run in ladder(0.05) if run["cost"]["dense_params"] == 1e3]
    assert [s.axis for s in slopes.slopes(same)] == ["history"]


def test_behaviour_is_drawn_against_the_axes_that_differ():
    figure = curves.behaviour(ladder(0.05))
    assert figure is not None
    assert [axis.title.text for axis in figure.select_xaxes() if axis.title.text] == [
        "parameters (log)", "history (log)",
    ]  # fmt: skip
    assert curves.behaviour(ladder(0.05)[:1]) is None


def test_a_page_with_a_pair_says_so(tmp_path: Path):
    records = [run(tmp_path, n, v) for n, v in (("hstu", 0.5), ("fusion", 0.6), ("twins", 0.5))]
    folders = {r["name"]: tmp_path / r["name"] for r in records}
    page.write(records, tmp_path / "page.html", folders)
    text = (tmp_path / "page.html").read_text()
    for title in ("Together or alone", "At equal cost", "Who gains"):
        assert f"<h2>{title}</h2>" in text
    assert "<h2>Behaviour and scale</h2>" not in text
    document = combined.document(records, folders)
    assert document["findings"][0].startswith("On ndcg@10 the pair won")
    assert document["slopes"] == []
