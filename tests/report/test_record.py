"""The record file: whole, checked, and honest about what was not measured."""

import json
from pathlib import Path
from typing import Any

import pytest

from recscale import record
from recscale.types import Cost

CONFIG = {"model": {"name": "hstu"}, "features": {"history": None}}


def make(**parts: Any) -> dict[str, Any]:
    defaults = {"data": {"digest": "d"}, "machine": {"cpu": "c", "gpu": None}}
    return record.build(**{"name": "a-s0", "seed": 0, "config": CONFIG, **defaults, **parts})


def test_what_was_not_measured_is_absent():
    found = make(cost=Cost(1, 2, 3), train={"seconds": 1.5, "best_step": None})
    assert found["cost"] == {"dense_params": 1, "embedding_params": 2, "flops_per_request": 3}
    assert found["train"] == {"seconds": 1.5}
    assert "train" not in make()


def test_settings_and_machine_keep_their_nulls():
    found = make()
    assert found["config"]["features"]["history"] is None
    assert found["machine"]["gpu"] is None


def test_a_record_survives_a_round_trip_and_leaves_no_other_file(tmp_path: Path):
    written = make(train={"loss": 0.25})
    record.write(written, tmp_path / "run")
    assert record.read(tmp_path / "run") == written
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["record.json"]


def test_a_number_that_is_none_is_refused_and_the_old_file_stays(tmp_path: Path):
    record.write(make(), tmp_path)
    with pytest.raises(record.RecordError, match=r"train\.loss: want a number, got nan"):
        record.write(make(train={"loss": float("nan")}), tmp_path)
    assert record.read(tmp_path) == make()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": "0"}, "seed: want int, got '0'"),
        ({"data": {}}, "data.digest: missing"),
        ({"config": {"model": {}}}, "config.model.name: missing"),
        ({"latency": [1]}, r"latency: want dict, got \[1\]"),
        ({"config": 3}, "config: want dict, got 3"),
    ],
)
def test_a_broken_record_names_file_and_key(tmp_path: Path, change: dict[str, Any], message: str):
    (tmp_path / "record.json").write_text(json.dumps({**make(), **change}))
    with pytest.raises(record.RecordError, match=rf"record\.json: {message}$"):
        record.read(tmp_path)


@pytest.mark.parametrize("text", ["", "{", '{"name": "a"', "[]", "\xff"])
def test_a_file_that_is_no_record_is_one_line(tmp_path: Path, text: str):
    (tmp_path / "record.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(record.RecordError) as raised:
        record.read(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_missing_record_is_said(tmp_path: Path):
    with pytest.raises(record.RecordError, match="no such file"):
        record.read(tmp_path)
