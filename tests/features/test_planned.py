"""Rows kept on disk are the rows that memory would have held."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from recscale.features.batches import assemble
from recscale.features.planned import planned_rows
from recscale.features.requests import Rows, training_rows
from recscale.features.store import Store
from tests.features.test_requests import make_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Users of 1 to 12 events; the last of each is valid, and one user is all test."""
    lengths = [3, 1, 12, 5, 2, 9]
    parts = [[0] * (n - 1) + [1] for n in lengths[:-1]] + [[2] * lengths[-1]]
    made = make_store(
        items=[[10 * u + i for i in range(n)] for u, n in enumerate(lengths, start=1)],
        times=[list(range(n)) for n in lengths],
        prefix=[list(range(n)) for n in lengths],
        part=parts,
    )
    return replace(made, folder=tmp_path)


def same(first: Rows, second: Rows) -> bool:
    return all(
        np.array_equal(getattr(first, field.name), getattr(second, field.name))
        for field in fields(Rows)
    )


@pytest.mark.parametrize("at_once", [1, 4, 6, 31])
@pytest.mark.parametrize("history", [2, 5, 50])
def test_rows_on_disk_are_those_in_memory_however_many_at_once(
    at_once: int, history: int, store: Store
):
    found = planned_rows(store, history, at_once=at_once)
    assert isinstance(found.candidate, np.memmap)
    assert same(found, training_rows(store, history))
    batch = assemble(store, found, np.array([2, 0]))
    assert batch.user["user_index"].tolist() == [found.user[2], 0]


def test_rows_are_worked_out_once_for_each_length_of_history(store: Store):
    planned_rows(store, 5, at_once=4)
    (kept,) = (store.folder / "planned").iterdir()
    (kept / "left").touch()
    planned_rows(store, 5, at_once=4)
    assert (kept / "left").exists()
    assert same(planned_rows(store, 2, at_once=4), training_rows(store, 2))


def test_a_share_of_the_log_is_that_in_memory(store: Store):
    found = planned_rows(store, 5, users=0.5, events=0.5, at_once=4)
    assert same(found, training_rows(store, 5, users=0.5, events=0.5))


def test_rows_of_a_small_log_are_not_kept(store: Store):
    assert same(planned_rows(store, 5), training_rows(store, 5))
    assert not list(store.folder.iterdir())
