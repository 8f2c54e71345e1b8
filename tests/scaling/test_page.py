from __future__ import annotations

import json
from pathlib import Path

import pytest

from recscale.report import advice, scaling, scaling_tables
from recscale.report.advice import Choice
from recscale.scaling import worker
from recscale.scaling.ladder import Ladder
from recscale.scaling.worker import Site
from tests.conftest import Cli


def choice(name: str, loss: float, p99: float | None, flops: float = 1.0) -> Choice:
    return Choice(name, name[0], loss, 1, None, p99, flops, None, 1.0)


TRENDS = {"params": {"verdict": "scales"}, "history": {"verdict": "does not scale"}}
GAINS = {
    "params": {"value": -0.02, "low": -0.03, "high": -0.01},
    "history": {"value": -0.05, "low": -0.08, "high": -0.01},
}
FAMILY = {
    "trends": TRENDS,
    "doubling": {"gain": GAINS},
    "noise": {"deviation": 0.003},
    "verdict": "scales",
}


def test_the_front_keeps_what_nothing_cheaper_beats():
    found = [choice("a", 5.0, 9.0), choice("b", 5.2, 3.0), choice("c", 5.3, 4.0)]
    assert [c.name for c in advice.front(found, "p99_ms")] == ["b", "a"]
    assert advice.front([choice("d", 1.0, None)], "p99_ms") == []


def test_the_advice_is_the_best_within_the_budget_and_the_doubling_that_surely_pays(climbed):
    """History's gain is larger, but no slope between rungs tells it from nothing."""
    ladder, _ = climbed  # its budget is 50 ms
    found = [choice("slow", 4.9, 80.0), choice("fast", 5.0, 9.0)]
    said = advice.sentence(ladder, {"families": {"f": FAMILY}}, found)
    assert said == (
        "Under p99 \u2264 50 ms the best is fast (softmax_loss 5.0000 \u00b1 0.0030 over seeds); "
        "slow would be better (4.9000) but is too slow; one doubling of dense parameters is worth "
        "-0.0200 [-0.0300, -0.0100] of loss."
    )
    late = advice.sentence(ladder, {"families": {}}, [choice("slow", 4.9, 80.0)])
    assert late == "No rung that was timed keeps p99 \u2264 50 ms."


def test_a_family_whose_doublings_drown_in_noise_is_advised_none():
    gains = {"params": {"value": -0.02, "low": -0.05, "high": 0.01}}
    family = {"trends": TRENDS, "doubling": {"gain": gains}}
    assert advice.worth(family) == "no further doubling is worth more than the noise"
    assert advice.worth({}) == "no further doubling is worth more than the noise"


def test_families_are_matched_at_equal_cost():
    found = [
        choice("a1", 5.0, 2.0, 10.0),
        choice("a2", 4.8, 4.0, 30.0),
        choice("b1", 4.9, 3.0, 20.0),
    ]
    rows = scaling_tables.matched(found).rows
    assert ["train flops \u2264 20", "5.0000 (a1)", "4.9000 (b1)"] in rows
    assert ["p99 ms \u2264 4", "4.8000 (a2)", "4.9000 (b1)"] in rows


def test_an_open_interval_is_shown_as_one():
    assert scaling_tables.ends(None, 0.25) == "[\u2212\u221e, 0.25]"
    assert scaling_tables.ends(None, None) == "unbounded"


def test_a_page_has_every_section_and_says_what_it_lacks(climbed: tuple[Ladder, Site]):
    ladder, site = climbed
    told = json.loads((site.out / "laws.json").read_text())
    records = worker.read(ladder, (*ladder.fitted, *ladder.held_out), site.out)
    forecast = json.loads((site.out / "forecast.json").read_text())
    sections = {
        title: note + body for title, note, body in scaling.page(ladder, told, records, forecast)
    }
    assert len(sections) == 17
    assert "isoflop: needs 3 budgets" in sections["Loss at equal compute"]
    assert "varies no share" in sections["Data"]
    assert "Lacks" in sections["Who gains"]
    assert forecast["sha256"] in sections["Forecast of the held-out rungs"]
    for record in records:
        assert record["name"] in sections["Ledger"]
    assert "dcnv2-x6-h4 (1 seeds)" in sections["Scorecard"]


def test_the_verb_climbs_writes_the_page_and_tells_the_laws(
    cli: Cli, copied: tuple[Ladder, Site], climbed: tuple[Ladder, Site]
):
    """Every rung has its record: nothing is trained."""
    _, site = copied
    file = climbed[1].out.parent / "tiny.yaml"
    words = ["scale", str(file), "--out", str(site.out), "--prepared", str(site.places.prepared)]
    told = json.loads(cli(*words, "--json").stdout.splitlines()[-1])
    assert told["families"]["dcnv2"]["runs"] == 4
    page = Path(told["page"]).read_text()
    assert "https://" not in page.split("<main>")[1]
    shown = cli(*words).stdout
    assert "| dcnv2: params |" in shown
    assert "last rung carried forward" in shown


@pytest.mark.parametrize("jobs", ["2"])
def test_several_workers_on_one_machine_leave_the_same_laws(
    cli: Cli, climbed: tuple[Ladder, Site], tmp_path: Path, jobs: str
):
    _, site = climbed
    file, out = site.out.parent / "tiny.yaml", tmp_path / "both"
    cli("scale", str(file), "--out", str(out), "--prepared", str(site.places.prepared),
        "--jobs", jobs, "--lease", "5")  # fmt: skip
    assert (out / "laws.json").read_bytes() == (site.out / "laws.json").read_bytes()
    journal = (out / "claims.journal").read_text()
    assert journal.count("#0") >= 5
    assert "#1" not in journal
