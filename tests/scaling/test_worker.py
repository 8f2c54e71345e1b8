from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recscale import record
from recscale.scaling import forecast, worker
from recscale.scaling.ladder import Ladder
from recscale.scaling.worker import Site
from tests.conftest import Cli
from tests.scaling.conftest import write

ONE_RUNG = "dcnv2-x2-h4-s0"


def test_a_finished_ladder_has_a_record_of_each_rung_laws_and_a_scorecard(
    climbed: tuple[Ladder, Site],
):
    found, site = climbed
    laws = json.loads((site.out / "laws.json").read_text())
    assert laws["families"]["dcnv2"]["runs"] == len(found.fitted) == 4
    assert set(laws["scorecard"]) == {"dcnv2-x6-h4"}
    assert laws["families"]["dcnv2"]["noise"]["degrees"] == 1
    for rung in (*found.fitted, *found.held_out):
        assert record.read(site.out / rung.name)["metrics"]["retrieval"]["softmax_loss"] > 0


def test_climbing_again_runs_nothing_and_changes_nothing(copied: tuple[Ladder, Site]):
    found, site = copied
    before = {p: p.stat().st_mtime_ns for p in site.out.rglob("record.json")}
    laws = (site.out / "laws.json").read_bytes()
    worker.climb(found, site)
    assert {p: p.stat().st_mtime_ns for p in site.out.rglob("record.json")} == before
    assert (site.out / "laws.json").read_bytes() == laws


def test_a_killed_worker_s_rung_is_taken_over_and_ends_the_same(
    climbed: tuple[Ladder, Site], tmp_path: Path
):
    """kill -9 in the middle of the third rung; benchmarks/killed_ladders.py does it ten times."""
    found, site = climbed
    out = tmp_path / "out"
    again = Site(out, site.places, lease_seconds=2)
    write(tmp_path)
    code = (
        "from pathlib import Path; from recscale.pipeline import Places\n"
        "from recscale.scaling import ladder; from recscale.scaling.worker import Site, climb\n"
        f"climb(ladder.load(Path({str(tmp_path / 'tiny.yaml')!r})), Site(Path({str(out)!r}), "
        f"Places(Path({str(site.places.raw)!r}), Path({str(site.places.prepared)!r})), "
        "lease_seconds=2))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    while not (out / ONE_RUNG / "last.ckpt").exists():
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    kept = {p: p.stat().st_mtime_ns for p in out.rglob("record.json")}
    assert len(kept) >= 2
    worker.climb(found, again)
    assert (out / "laws.json").read_bytes() == (site.out / "laws.json").read_bytes()
    assert {p: p.stat().st_mtime_ns for p in kept} == kept


def test_a_forecast_is_made_before_its_rung_and_is_sealed(climbed: tuple[Ladder, Site]):
    found, site = climbed
    told = forecast.read(site.out / forecast.FILE)
    assert set(told["rungs"]["dcnv2-x6-h4"]["loss"]) >= {"last rung carried forward"}
    assert told["fitted_on"] == {"dcnv2": sorted(rung.name for rung in found.fitted)}
    held = site.out / "dcnv2-x6-h4-s0" / "config.yaml"
    assert (site.out / forecast.FILE).stat().st_mtime_ns < held.stat().st_mtime_ns


def test_a_forecast_that_was_changed_is_refused(copied: tuple[Ladder, Site]):
    _, site = copied
    path = site.out / forecast.FILE
    told = json.loads(path.read_text())
    told["written"] = "2020-01-01T00:00:00+00:00"
    path.write_text(json.dumps(told))
    with pytest.raises(ValueError, match="changed since it was written"):
        forecast.read(path)


def test_nothing_is_forecast_once_a_held_out_rung_was_begun(copied: tuple[Ladder, Site]):
    found, site = copied
    (site.out / forecast.FILE).unlink()
    with pytest.raises(ValueError, match="dcnv2-x6-h4-s0 was begun before anything was forecast"):
        worker.climb(found, site)


def test_a_forecast_that_stands_is_not_written_again(copied: tuple[Ladder, Site]):
    found, site = copied
    before = (site.out / forecast.FILE).read_bytes()
    shutil.rmtree(site.out / "dcnv2-x6-h4-s0")
    records = worker.read(found, found.fitted[:1], site.out)
    forecast.write_once(found, records, site.out, site.places)
    assert (site.out / forecast.FILE).read_bytes() == before


def test_the_scorecard_says_how_far_each_rival_was_off(climbed: tuple[Ladder, Site]):
    found, site = climbed
    records = worker.read(found, (*found.fitted, *found.held_out), site.out)
    told = forecast.read(site.out / forecast.FILE)
    score = forecast.scorecard(found, told, records)["dcnv2-x6-h4"]
    loss = record.read(site.out / "dcnv2-x6-h4-s0")["metrics"]["retrieval"]["softmax_loss"]
    assert score["realised"] == loss
    for name, said in told["rungs"]["dcnv2-x6-h4"]["loss"].items():
        error = said["value"] - loss
        assert score["laws"][name]["relative_error"] == pytest.approx(error / loss)
        inside = (said["low"] or -1e9) <= loss <= (said["high"] or 1e9)
        assert score["laws"][name]["in_interval"] is inside


def test_a_plan_is_told_without_running_anything(cli: Cli, tmp_path: Path):
    write(tmp_path)
    told = cli("scale", "tiny.yaml", "--plan", "--json")
    plan = json.loads(told.stdout.splitlines()[-1])
    assert (plan["runs"], plan["waiting"]) == (5, 5)
    assert {"item_table", "other_tables", "matrix", "scalars"} <= set(plan["rungs"][0])
    assert not (tmp_path / "runs").exists()
    assert "| dcnv2-x6-h4 (held out) | 1 |" in cli("scale", "tiny.yaml", "--plan").stdout


def test_a_wrong_ladder_file_ends_in_one_line(cli: Cli, tmp_path: Path):
    write(tmp_path, budget=3)
    told = cli("scale", "tiny.yaml", code=2)
    assert told.stderr.startswith("recscale: budget: Extra inputs")
