"""The page and the table: from records to what a reader may conclude."""

import re
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from recscale import models
from recscale.evaluation.bootstrap import Spread
from recscale.evaluation.predictions import Predictions, Ranking, Retrieval, save
from recscale.report import differences, figures, page, tables
from recscale.report.families import COLOUR, OTHER, family
from recscale.report.groups import RETRIEVAL, group

Record = dict[str, Any]
NDCG = RETRIEVAL[0]


def make(name: str, model: str = "hstu", ndcg: float | None = 0.1, **parts: Any) -> Record:
    metrics = {} if ndcg is None else {"retrieval": {"ndcg@10": ndcg, "targets": 4}}
    seed = int(name.rpartition("-s")[2]) if "-s" in name else 0
    config = {
        "data": {"source": "ml-1m"},
        "split": {"name": "temporal", "valid": 0.1},
        "model": {"name": model},
        "evaluation": {"seen": "kept", "requests": None},
        "seed": seed,
    }
    return {
        "name": name,
        "version": "0.1.0",
        "commit": "abc1234",
        "seed": seed,
        "config": {**config, **parts.pop("config", {})},
        "data": {"digest": "d1", "users": 6040, "dropped": {"duplicates": 3}},
        "metrics": metrics,
        "machine": {"cpu": "Some CPU", "threads": 2, "gpu": None, "torch": "2.13"},
        **parts,
    }


def latency(p99: float, low: float | None = None, high: float | None = None) -> Record:
    ends = {"p99_low_ms": low, "p99_high_ms": high}
    return {
        "p50_ms": p99 / 2, "p95_ms": p99 * 0.9, "p99_ms": p99, "percentile": 99, "budget_ms": 50.0,
        "within_budget": p99 <= 50, "requests": 400, "candidates": 1000, "history": 200,
        **{key: value for key, value in ends.items() if value is not None},
    }  # fmt: skip


def seeds(name: str, values: list[float], model: str = "hstu") -> list[Record]:
    return [make(f"{name}-s{i}", model, value) for i, value in enumerate(values)]


def predict(folder: Path, rank: list[float], target: int = 9) -> Path:
    n = len(rank)
    top = np.full((n, 10), 5)
    user = np.arange(n)
    ids = np.full(n, target)
    folder.mkdir()
    retrieval = Retrieval(user, ids, np.array(rank), np.ones(n), top[:, 0] > 9, top, top > 9)
    label = np.array([1.0, 0.0] * n, dtype=np.float32)
    ranking = Ranking(np.repeat(user, 2), label, label * 2)
    save(Predictions(retrieval, ranking), folder)
    return folder


def test_runs_of_one_config_are_one_line_with_their_spread():
    line = tables.markdown(seeds("hstu", [0.1, 0.2, 0.3])).splitlines()[2]
    assert line == "| hstu | 3 | 0.2000 ± 0.1000 | – |"


def test_one_seed_has_no_deviation():
    assert "| hstu | 1 | 0.1000 | – |" in tables.markdown(seeds("hstu", [0.1]))


def test_a_name_without_a_seed_is_its_own_group():
    assert [g.name for g in group([make("solo"), *seeds("pair", [0.2, 0.3])])] == ["pair", "solo"]


def test_lines_are_ordered_by_quality():
    records = [*seeds("low", [0.1]), *seeds("none", [None]), *seeds("high", [0.3])]  # type: ignore[list-item]
    assert [g.name for g in group(records)] == ["high", "low", "none"]


def test_the_best_is_bold_when_seeds_tell_it_apart():
    table = tables.markdown(seeds("a", [0.30, 0.31, 0.32]) + seeds("b", [0.10, 0.11, 0.12]))
    assert "**0.3100 ± 0.0100**" in table


def test_the_best_is_within_noise_when_seeds_do_not_tell_it_apart():
    table = tables.markdown(seeds("a", [0.1, 0.3]) + seeds("b", [0.1, 0.2]))
    assert "≈ 0.2000" in table
    assert "**" not in table


def test_one_seed_each_and_no_predictions_cannot_tell_anything_apart():
    assert "≈ 0.9000" in tables.markdown(seeds("a", [0.9]) + seeds("b", [0.1]))


def test_a_model_alone_is_not_called_best():
    assert "≈" not in tables.markdown(seeds("a", [0.9])).splitlines()[2]


def test_lower_is_better_for_losses():
    records = seeds("a", [0.1, 0.1]) + seeds("b", [0.1, 0.1])
    for record, value in zip(records, (0.8, 0.81, 0.99, 0.98), strict=True):
        record["metrics"]["ranking"] = {"ne": value}
    assert "**0.8050 ± 0.0071**" in tables.markdown(records)


def test_welch_interval_of_equal_samples_is_the_pooled_one():
    # Two samples of 3 with sd 1: 4 degrees of freedom, t = 2.776, standard error sqrt(2 / 3).
    half = differences.welch(Spread(0, 1.0, 3), Spread(0, 1.0, 3))
    assert half == pytest.approx(2.776 * (2 / 3) ** 0.5, rel=1e-3)


def test_paired_predictions_tell_models_of_one_seed_apart(tmp_path: Path):
    records = seeds("a", [1.0]) + seeds("b", [0.5])
    good, bad = [1.0] * 30, [3.0] * 30
    folders = {"a-s0": predict(tmp_path / "a", good), "b-s0": predict(tmp_path / "b", bad)}
    groups = group(records)
    table = differences.resample(groups, folders)
    gap = differences.to_best("ndcg@10", table)["b"]
    assert (gap.mean, gap.low, gap.high) == pytest.approx((-0.5, -0.5, -0.5))
    assert differences.is_clear(groups, NDCG, table)
    assert "**1.0000**" in tables.markdown(records, folders)


def test_a_run_without_predictions_is_a_dash_among_those_with(tmp_path: Path):
    records = seeds("a", [1.0]) + seeds("b", [0.5]) + seeds("c", [0.2])
    folders = {
        "a-s0": predict(tmp_path / "a", [1.0, 1.0]),
        "b-s0": predict(tmp_path / "b", [3.0, 3.0]),
        "c-s0": tmp_path,
    }
    groups = group(records)
    html = tables.paired(groups, differences.resample(groups, folders))
    last = html.rsplit("<tr>", 1)[1]
    assert ">c<" in last
    assert "<td>–</td>" in last


def test_predictions_of_different_events_are_refused(tmp_path: Path):
    folders = {
        "a-s0": predict(tmp_path / "a", [1.0, 2.0]),
        "b-s0": predict(tmp_path / "b", [1.0, 2.0], target=8),
    }
    with pytest.raises(ValueError, match="a-s0 and b-s0 predicted different events"):
        tables.markdown(seeds("a", [1.0]) + seeds("b", [0.5]), folders)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"data": {"digest": "d2"}}, "data.digest is d1 in a-s0 and d2 in b-s0"),
        ({"config": {"evaluation": {"seen": "removed"}}}, "config.evaluation is"),
        ({"config": {"split": {"name": "leave_one_out"}}}, "config.split is"),
    ],
)
def test_other_data_or_evaluation_is_refused_in_one_line(change: Record, key: str):
    with pytest.raises(ValueError, match=f"not comparable: {key}") as raised:
        group([make("a-s0"), make("b-s0", **change)])
    assert "\n" not in str(raised.value)


def test_seeds_of_different_settings_are_refused():
    other = make("a-s1", config={"model": {"name": "hstu", "width": 8}})
    with pytest.raises(ValueError, match=r"no two seeds of one config: model\.width is None and 8"):
        group([make("a-s0"), other])


def test_two_runs_of_one_name_and_no_run_are_refused():
    with pytest.raises(ValueError, match="two runs are named a-s0"):
        group([make("a-s0"), make("a-s0")])
    with pytest.raises(ValueError, match="no record"):
        group([])


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ([latency(40, 38, 45)], "within"),
        ([latency(60, 55, 70)], "over"),
        ([latency(49, 45, 55)], "too close"),
        ([latency(40, 38, 45), latency(60, 55, 70)], "too close"),
        ([latency(40)], "within"),
        ([], "–"),
    ],
)
def test_the_verdict_reads_the_interval_of_the_percentile(times: list[Record], said: str):
    runs = [make(f"a-s{i}", latency=time) for i, time in enumerate(times)] or [make("a-s0")]
    assert tables.verdict(group(runs)[0]) == said


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (1_234_567, "1.23 M"), (2e9, "2 G"), (437e3, "437 k")],
)
def test_large_numbers_are_short(value: float, text: str):
    assert tables.count(value) == text


def test_every_model_has_a_family_with_a_colour():
    names = [config.model_fields["name"].default for config in get_args(models.AnyModelConfig)]
    assert names
    assert OTHER not in {family(name) for name in names}
    assert {family(name) for name in names} <= COLOUR.keys()


@pytest.fixture
def written(tmp_path: Path) -> str:
    records = [
        *[make(f"hstu-s{i}", ndcg=0.3 + i / 100, latency=latency(8 + i)) for i in range(2)],
        make("din-s0", "din", 0.2, latency=latency(45, 40, 60)),
        make("recent-s0", "recent", None),
    ]
    folders = {record["name"]: tmp_path / record["name"] for record in records}
    folders["hstu-s0"].mkdir()
    curve = "step,epoch,events,seconds,loss,ndcg@10\n10,0,100,1.0,5.0,0.1\n20,0,200,2.0,4.0,0.2\n"
    (folders["hstu-s0"] / "events.csv").write_text(curve)
    page.write(records, tmp_path / "out" / "report.html", folders)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.html"]
    return (tmp_path / "out" / "report.html").read_text()


def visible(html: str) -> str:
    return re.sub(r"<(script|style).*?</\1>", "", html, flags=re.DOTALL)


def test_a_page_asks_nothing_of_the_network(written: str):
    assert not re.search(r"<script[^>]+src=|<link|@import|<img", written)
    assert written.count("plotly.js v") == 1


def test_absent_values_are_dashes_never_none_or_nan(written: str):
    assert not re.search(r"\b(None|NaN|nan|null|undefined)\b", visible(written))
    assert "<td>–</td>" in written


def test_a_page_says_what_its_numbers_rest_on(written: str):
    text = visible(written)
    for fact in ("ml-1m", "d1", "name temporal", "requests all", "Some CPU, 2 threads",
                 "commit abc1234", "0, 1", "duplicates 3", "4 targets"):  # fmt: skip
        assert fact in text, fact


def test_a_page_shows_only_what_was_measured(written: str):
    text = visible(written)
    for title in ("Comparison", "Quality and latency", "Training", "Retrieval"):
        assert f"<h2>{title}</h2>" in text
    for title in ("Ranking", "Behaviour", "Difference to the best"):
        assert f"<h2>{title}</h2>" not in text


def test_a_synthetic_log_is_named_as_such(tmp_path: Path):
    real, invented = tmp_path / "real.html", tmp_path / "invented.html"
    page.write([make("a-s0")], real)
    page.write([make("a-s0", config={"data": {"source": "synthetic"}})], invented)
    assert "Synthetic log." not in visible(real.read_text())
    assert "Synthetic log." in visible(invented.read_text())


def test_runs_of_several_machines_are_marked(tmp_path: Path):
    page.write([make("a-s0"), make("b-s0", machine={"cpu": "Other"})], tmp_path / "page.html")
    assert "Several machines." in visible((tmp_path / "page.html").read_text())


def test_names_cannot_break_the_page(tmp_path: Path):
    page.write([make("<b>x</b>-s0")], tmp_path / "page.html")
    assert "<b>x" not in visible((tmp_path / "page.html").read_text())


def test_a_broken_training_curve_is_named(tmp_path: Path):
    (tmp_path / "events.csv").write_text("step,loss\n1,abc\n")
    with pytest.raises(ValueError, match=r"events\.csv: want columns events, loss and a metric"):
        figures.read_curve(make("a-s0"), {"a-s0": tmp_path})


def test_the_budget_line_stands_at_the_budget():
    figure = figures.frontier(group([make("a-s0", latency=latency(8))]))
    assert figure is not None
    assert [shape.x0 for shape in figure.layout.shapes] == [50.0]


def test_names_beside_points_of_like_latency_go_apart():
    runs = [make("a-s0", ndcg=0.3, latency=latency(8)), make("b-s0", ndcg=0.29, latency=latency(9))]
    figure = figures.frontier(group(runs))
    assert figure is not None
    assert [trace.textposition for trace in figure.data] == ["top center", "bottom center"]
