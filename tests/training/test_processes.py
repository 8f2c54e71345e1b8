"""Two processes end where one does; what they leave, any number can go on from."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
import torch

from recscale.training import shards
from tests.conftest import ROOT
from tests.training.jobs import finish, torchrun
from tests.training.processes import MODELS, STOP, log, start, train


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every run that the tests compare: two processes first, then one that goes on with theirs."""
    out = tmp_path_factory.mktemp("processes")
    worker = str(ROOT / "tests" / "training" / "processes.py")
    for processes in (2, 1):
        job = torchrun(processes, worker, str(out))
        _, told = finish(job)
        assert job.returncode == 0, told[-3000:]
    log(out)
    for name in MODELS:
        (out / f"{name}-start").mkdir()
        torch.save(start(name, out).state_dict(), out / f"{name}-start" / "best.ckpt")
        train(name, out / f"{name}-one")
    return out


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "best.ckpt", weights_only=True)


def losses(folder: Path) -> list[float]:
    with (folder / "events.csv").open() as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def difference(first: Path, second: Path) -> float:
    """The largest between any two weights of the same name."""
    ours, theirs = weights(first), weights(second)
    assert set(ours) == set(theirs)
    gaps = [(ours[name] - theirs[name]).abs().max() for name in ours if ours[name].numel()]
    return float(torch.stack([gap.float() for gap in gaps]).max())


@pytest.mark.parametrize("name", MODELS)
def test_two_processes_end_where_one_does(name: str, runs: Path):
    """Hazard 8: fifty steps, an uneven last batch in each epoch, table and dense weights."""
    one, two = runs / f"{name}-one", runs / f"{name}-two"
    assert losses(two) == pytest.approx(losses(one), rel=1e-6)
    assert len(losses(two)) == 5
    assert difference(one, two) < 1e-6
    assert difference(runs / f"{name}-start", two) > 5e-3  # what agreed has moved


@pytest.mark.parametrize("name", MODELS)
def test_a_run_of_two_goes_on_exactly(name: str, runs: Path):
    """Hazards 7 and 16: shards, optimisers, loader and generators of both."""
    straight, resumed = runs / f"{name}-two", runs / f"{name}-two-then-two"
    assert difference(straight, resumed) == 0
    assert losses(resumed) == losses(straight)


@pytest.mark.parametrize("name", MODELS)
def test_a_run_of_two_goes_on_in_one_process(name: str, runs: Path):
    """Hazard 16: the rows of either are there."""
    straight, resumed = runs / f"{name}-two", runs / f"{name}-two-then-one"
    assert difference(straight, resumed) < 1e-6
    assert losses(resumed) == pytest.approx(losses(straight), rel=1e-6)


def test_both_processes_hold_rows_of_the_large_table(runs: Path):
    names = {path.name for path in (runs / "hstu-two" / "last.ckpt").iterdir()}
    assert {"__0_0.distcp", "__1_0.distcp", "rest.pt", ".metadata"} <= names


@pytest.mark.parametrize("name", ["__1_0.distcp", "rest.pt", ".metadata"])
def test_a_checkpoint_without_one_of_its_files_is_refused_by_name(
    name: str, runs: Path, tmp_path: Path
):
    """Hazard 16."""
    copy = shutil.copytree(runs / "hstu-two" / "last.ckpt", tmp_path / "last.ckpt")
    shards.require_whole(copy)
    (copy / name).unlink()
    with pytest.raises(ValueError, match=f"no {name}: the checkpoint holds not every process's"):
        shards.require_whole(copy)


def test_one_process_does_not_go_on_with_shards(runs: Path, tmp_path: Path):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copytree(runs / "hstu-two" / "last.ckpt", folder / "last.ckpt")
    shutil.copytree(runs / "made", tmp_path / "made")
    with pytest.raises(ValueError, match="left by several processes; go on with torchrun"):
        train("hstu", folder, resume=True, steps=STOP + 1)
