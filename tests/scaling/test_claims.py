from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from recscale.scaling.claims import LOST, Claims, open_storage

LEASE = 0.6


@pytest.fixture(params=["journal", "database"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A shared folder, and a database by its URL."""
    if request.param == "journal":
        return str(tmp_path / "claims.journal")
    return f"sqlite:///{tmp_path / 'claims.db'}"


def worker(where: str, lease: float = LEASE) -> Claims:
    """Each with a connection of its own, as on another machine."""
    return Claims(open_storage(where), "ladder", lease)


def test_a_rung_is_claimed_once(where: str):
    first, second = worker(where), worker(where)
    assert first.take("a") is not None
    assert second.take("a") is None
    assert second.take("b") is not None
    assert first.take("b") is None


def test_a_finished_rung_is_never_claimed_again(where: str):
    first, second = worker(where), worker(where)
    claim = first.take("a")
    assert claim is not None
    with claim.held():
        pass
    time.sleep(2 * LEASE)
    assert second.take("a") is None
    assert first.take("a") is None
    assert second.attempts("a") == 1


def test_a_rung_whose_worker_failed_is_free_at_once(where: str):
    first, second = worker(where), worker(where)
    claim = first.take("a")
    assert claim is not None
    with pytest.raises(ValueError, match="does not fit"), claim.held():
        raise ValueError("does not fit")
    again = second.take("a")
    assert again is not None
    assert again.attempt == 1


def test_a_silent_worker_loses_its_rung_after_a_lease(where: str):
    """Killed: no beat. One of those who watch takes over, the other does not."""
    silent, second, third = worker(where), worker(where), worker(where)
    assert silent.take("a") is not None
    assert (second.take("a"), third.take("a")) == (None, None)
    time.sleep(1.2 * LEASE)
    assert second.take("a") is not None
    assert third.take("a") is None


def test_a_beating_worker_keeps_its_rung(where: str):
    first, second = worker(where), worker(where)
    claim = first.take("a")
    assert claim is not None
    with claim.held():
        end = time.monotonic() + 3 * LEASE
        while time.monotonic() < end:
            assert second.take("a") is None
            time.sleep(LEASE / 10)


def test_a_worker_that_was_taken_over_ends_before_it_writes_more(tmp_path: Path):
    """It slept through its lease, as a stopped process or machine does."""
    where = str(tmp_path / "claims.journal")
    code = (
        "import sys, time; from recscale.scaling.claims import Claims, open_storage\n"
        f"claim = Claims(open_storage({where!r}), 'ladder', {LEASE}).take('a')\n"
        "print('taken', flush=True)\n"
        "with claim.held(): time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "taken\n"
    other = worker(where, lease=0)  # so impatient that it takes over what still lives
    other.take("a")
    assert other.take("a") is not None
    assert process.wait(timeout=30) == LOST
