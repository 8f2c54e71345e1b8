"""The frontier under load."""

from __future__ import annotations

from recscale.report import load
from recscale.report.groups import group


def record(name: str, model: str, quality: float, trials: list[dict[str, object]]):
    return {
        "name": name,
        "version": "0",
        "seed": 0,
        "config": {"model": {"name": model}},
        "data": {"digest": "d"},
        "machine": {},
        "metrics": {"retrieval": {"ndcg@10": quality}},
        "load": {"trials": trials},
    }


def trial(p99: float, states: str = "kept", **other: object) -> dict[str, object]:
    kind = {"window": "newest", "precision": "float32", "history": 50, "candidates": 9}
    return {"p99_ms": p99, "states": states, "rate_rps": 20.0, **kind, **other}


def test_the_line_holds_what_nothing_beats_in_both_ways():
    points = [(5.0, 0.3), (1.0, 0.1), (2.0, 0.1), (3.0, 0.2), (4.0, 0.15), (5.0, 0.25)]
    assert load.best(points) == [(1.0, 0.1), (3.0, 0.2), (5.0, 0.3)]


def test_every_exact_trial_is_a_point_and_an_inexact_one_is_not():
    records = [
        record("hstu-s0", "hstu", 0.2, [trial(2), trial(9, "anew"), trial(1, precision="int8")]),
        record("din-s0", "din", 0.1, [trial(5), trial(4, window="half")]),
    ]
    figure = load.frontier(group(records))
    line, *points = figure.data
    assert list(line.x) == [2]
    assert sorted((p.x[0], p.y[0], p.marker.symbol) for p in points) == [
        (2, 0.2, "circle"),
        (5, 0.1, "circle"),
        (9, 0.2, "x"),
    ]


def test_nothing_is_drawn_where_nothing_was_put_under_load():
    assert load.frontier(group([record("hstu-s0", "hstu", 0.2, [])])) is None
