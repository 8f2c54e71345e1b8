from __future__ import annotations

from pathlib import Path

import pytest

from recscale import configfile
from recscale.config import load

NO_RUNS = ("ladder_", "sweep_")  # see tests/scaling
CONFIGS = [
    path
    for path in sorted((Path(__file__).parents[1] / "configs").glob("*.yaml"))
    if not path.name.startswith(NO_RUNS)
]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_config_is_valid_short_and_says_what_to_expect(path: Path):
    load(path)
    lines = path.read_text().splitlines()
    assert len(lines) <= 40
    assert lines[0].startswith("# expected: ")
    assert "TO FILL" not in lines[0]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.block=4", "model.hstu.block: Extra inputs are not permitted, got 4"),
        ("model.heads=3", "model.hstu"),
        ("training.lr=fast", "training.lr: Input should be a valid number"),
        ("model.name=hstuu", "model: Input tag 'hstuu'"),
        ("training.lr.x=1", "lr.x: lr is"),
    ],
)
def test_a_wrong_setting_is_named_in_the_error(override: str, message: str, tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "data: {source: synthetic}\nmodel: {name: hstu, width: 16, heads: 2}\n"
        "training: {lr: 0.001}\n"
    )
    with pytest.raises(configfile.ConfigError) as error:
        load(path, [override])
    assert str(error.value).startswith(message)


def test_settings_survive_a_round_trip(tmp_path: Path):
    config = load(CONFIGS[0])
    (tmp_path / "config.yaml").write_text(configfile.dump(config))
    assert load(tmp_path / "config.yaml") == config


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "\x00"])
def test_a_file_that_is_no_mapping_is_refused_in_one_line(text: str, tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(configfile.ConfigError, match="run.yaml") as error:
        load(path)
    assert "\n" not in str(error.value)
