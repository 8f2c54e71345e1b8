"""A combiner from one file: its members trained as if alone, found again, and paid for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from recscale import configfile, record
from recscale.config import load
from recscale.features.prepare import prepare
from recscale.features.requests import PARTS
from recscale.features.store import open_store
from recscale.validation import training_rows
from tests.conftest import Cli

SAME = """
data: {source: synthetic, users: 120, items: 60, events_per_user: 20}
features: {history: 10}
evaluation: {requests: 50}
latency: {requests: 5, warmup: 1, candidates: 20}
"""
TRAINING = "training: {steps: 12, batch_size: 8, validate_every: 6}\n"
HSTU = f"{SAME}{TRAINING}model: {{name: hstu, blocks: 1, width: 8, heads: 1}}\n"
DIN = f"{SAME}{TRAINING}model: {{name: din, width: 4, attention: 4, hidden: [8]}}\n"
FUSION = f"""{SAME}
model: {{name: fusion}}
members: {{generative: {{file: hstu.yaml}}, ctr: {{file: din.yaml}}}}
training: {{part: valid, steps: 6, batch_size: 8, validate_every: 6, lr: 0.02}}
"""


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, text in (("hstu", HSTU), ("din", DIN), ("fusion", FUSION)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "model.ckpt", weights_only=True)


def read(run: Path) -> dict[str, Any]:
    return json.loads((run / "record.json").read_text())


def test_a_combiner_trains_its_members_as_if_each_were_alone(cli: Cli, files: Path):
    cli("train", "fusion.yaml", "--out", "a/fusion")
    cli("train", "hstu.yaml", "--out", "b/hstu")
    alone, inside = weights(files / "b" / "hstu"), weights(files / "a" / "fusion")
    assert all(
        torch.equal(tensor, inside[f"members.0.ranker.{name}"]) for name, tensor in alone.items()
    )


def test_a_comparison_trains_no_member_twice(cli: Cli, files: Path):
    told = cli("compare", "fusion.yaml", "hstu.yaml", "din.yaml", "--out", "out", "--seeds", "1")
    out = files / "out"
    assert "members.ctr is" in told.stderr
    assert not (out / "fusion-s0" / "members").exists()
    pair = read(out / "fusion-s0")
    parts = [read(out / "hstu-s0"), read(out / "din-s0")]
    assert [member["run"] for member in pair["members"].values()] == ["hstu-s0", "din-s0"]
    weights_of_its_own = 3  # one a member and a bias
    for key, own in (("dense_params", weights_of_its_own), ("flops_per_request", 0)):
        assert pair["cost"][key] == own + sum(part["cost"][key] for part in parts)
    assert pair["cost"]["train_flops"] > sum(part["cost"]["train_flops"] for part in parts)
    assert pair["train"]["seconds"] > sum(part["train"]["seconds"] for part in parts)


def test_a_record_from_before_a_setting_was_there_still_counts(cli: Cli, files: Path):
    cli("compare", "hstu.yaml", "--out", "out", "--seeds", "1")
    old = read(files / "out" / "hstu-s0")
    del old["config"]["training"]["part"], old["config"]["members"]
    record.write(old, files / "out" / "hstu-s0")
    told = cli("compare", "hstu.yaml", "--out", "out", "--seeds", "2")
    assert "hstu-s0" not in told.stderr  # not trained again
    assert "| hstu | 2 |" in told.stdout


def test_a_run_of_other_settings_or_seed_is_no_member(cli: Cli, files: Path):
    cli("train", "hstu.yaml", "--out", "out/other", "training.lr=0.01")
    cli("train", "hstu.yaml", "--out", "out/seed", "seed=1")
    cli("train", "fusion.yaml", "--out", "out/fusion")
    assert read(files / "out" / "fusion")["members"]["generative"]["run"] == "generative"


def test_two_combiners_share_the_members_that_the_first_one_trained(cli: Cli, files: Path):
    cli("train", "fusion.yaml", "--out", "out/fusion")
    (files / "gate.yaml").write_text(FUSION.replace("name: fusion", "name: gate"))
    cli("train", "gate.yaml", "--out", "out/gate")
    assert not (files / "out" / "gate" / "members").exists()
    assert "generative" in read(files / "out" / "gate")["members"]


def test_a_report_leaves_the_runs_of_members_out(cli: Cli, files: Path):
    cli("train", "fusion.yaml", "--out", "out/fusion")
    assert (files / "out" / "fusion" / "members" / "ctr" / "record.json").exists()
    assert record.runs(files / "out") == [files / "out" / "fusion"]
    assert "| fusion |" in cli("report", "out").stdout


def test_a_saved_combiner_needs_no_folder_of_its_members(cli: Cli, files: Path):
    cli("train", "fusion.yaml", "--out", "out/fusion")
    before = read(files / "out" / "fusion")["metrics"]
    (files / "out" / "fusion" / "members").rename(files / "gone")
    cli("evaluate", "out/fusion")
    assert read(files / "out" / "fusion")["metrics"] == before


def test_a_combiner_without_weights_of_its_own_has_a_record_too(cli: Cli, files: Path):
    text = FUSION.replace("name: fusion", "name: shortlist, keep: 5")
    (files / "shortlist.yaml").write_text(text)
    cli("train", "shortlist.yaml", "--out", "out/shortlist")
    found = read(files / "out" / "shortlist")
    assert found["train"].keys() == {"seconds", "core_seconds"}
    assert found["metrics"]["ranking"]["logloss"] > 0
    assert found["metrics"]["retrieval"]["targets"] == 50


def test_a_teacher_is_a_member(cli: Cli, files: Path):
    (files / "distilled.yaml").write_text(f"""{SAME}{TRAINING}
model: {{name: distilled, student: {{name: din, width: 4, attention: 4, hidden: [8]}}}}
members: {{teacher: {{file: hstu.yaml}}}}
""")
    cli("train", "distilled.yaml", "--out", "out/distilled")
    found = read(files / "out" / "distilled")
    assert found["cost"]["train_flops"] > found["members"]["teacher"]["train_flops"]


def test_weights_of_scores_are_fitted_on_validation_alone(files: Path):
    """Hazard 21."""
    config = load(files / "fusion.yaml")
    store = open_store(prepare(config.recipe, files, files / "prepared"), 10)
    rows = training_rows(config, store)
    assert set(store.candidates["part"][rows.candidate].tolist()) == {PARTS.index("valid")}
    alone = training_rows(config.of_member("ctr"), store)
    assert set(store.candidates["part"][alone.candidate].tolist()) == {PARTS.index("train")}


def test_two_members_of_one_file_need_two_seeds(files: Path):
    text = FUSION.replace("ctr: {file: din.yaml}", "other: {file: hstu.yaml, seed: 1000}")
    (files / "alike.yaml").write_text(text)
    config = load(files / "alike.yaml", ["seed=3"])
    assert [config.of_member(name).seed for name in config.members] == [3, 1003]


def test_an_override_of_training_reaches_members_that_come_from_files(files: Path):
    config = load(files / "fusion.yaml", ["training.steps=7"])
    assert config.training.steps == 7
    assert config.members["ctr"].training.steps == 7
    assert config.members["ctr"].training.part == "train"
    assert config.of_member("ctr") == load(files / "din.yaml", ["training.steps=7"])


def test_a_member_may_differ_from_its_file_in_training(files: Path):
    (files / "short.yaml").write_text(
        FUSION.replace("file: din.yaml", "file: din.yaml, training: {steps: 3}")
    )
    found = load(files / "short.yaml").members["ctr"].training
    assert (found.steps, found.batch_size) == (3, 8)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("file: din.yaml", "file: none.yaml", "none.yaml: no such file"),
        ("file: din.yaml", "name: din", "members.ctr.model: Field required"),
        ("hstu.yaml", "fusion.yaml", "members.generative.model: Input tag 'fusion'"),
        ("{file: hstu.yaml}", "3", "members.generative: Input should be"),
    ],
)
def test_a_wrong_member_is_named(old: str, new: str, message: str, files: Path):
    (files / "wrong.yaml").write_text(FUSION.replace(old, new))
    with pytest.raises(configfile.ConfigError) as raised:
        load(files / "wrong.yaml")
    assert message in str(raised.value)


def test_members_that_do_not_fit_are_refused_before_any_training(cli: Cli, files: Path):
    (files / "wrong.yaml").write_text(FUSION.replace("name: fusion", "name: informed, ranker: "
                                                     "{name: din}"))  # fmt: skip
    told = cli("train", "wrong.yaml", "--out", "out/wrong", code=2)
    assert told.stderr.splitlines()[-1].startswith("recscale: members: want one, a generative")
    assert not (files / "out").exists()
