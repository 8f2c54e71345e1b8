"""Who runs which rung, among any number of processes on one machine or many.

An attempt at a rung is a study in Optuna's storage: a journal on a shared folder, or a database.
Storage lets a study's name be given once, so that each attempt has one owner. The owner beats: a
number in the attempt grows. Who watches for a whole lease without seeing it grow, by a clock of its
own, may make the next attempt; the old owner, should it still live, sees that and ends at once.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import DuplicatedStudyError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.study import StudyDirection

optuna.logging.set_verbosity(optuna.logging.WARNING)  # it tells of every attempt

LEASE_SECONDS = 60.0
BEATS = 6  # in a lease
LOST = 3  # exit status of a process whose rung was taken over
LOCK_SECONDS = 10  # a lock in the journal that old was left by a killed process
FINISHED, RELEASED = "finished", "released"


def open_storage(where: str) -> BaseStorage:
    """A database by its URL (sqlite, postgresql, ...), else a journal at this path."""
    if "://" in where:
        return RDBStorage(where)
    path = Path(where)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalFileSymlinkLock(str(path), grace_period=LOCK_SECONDS)
    return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))


class Claims:
    """The rungs of one ladder, as one worker sees them."""

    def __init__(self, storage: BaseStorage, ladder: str, lease_seconds: float) -> None:
        self.storage, self.ladder, self.lease_seconds = storage, ladder, lease_seconds
        self._latest: dict[str, int] = {}  # attempts seen, by rung
        self._seen: dict[str, tuple[int, int, float]] = {}  # attempt, beat, since when unchanged

    def take(self, rung: str) -> Claim | None:
        """The next attempt at a rung; None where it is finished or somebody is at it."""
        attempt = self._last_attempt(rung)
        if attempt is not None and not self._is_free(rung, attempt):
            return None
        following = 0 if attempt is None else attempt + 1
        try:
            study = self.storage.create_new_study(
                [StudyDirection.MINIMIZE], self._name(rung, following)
            )
        except DuplicatedStudyError:
            return None  # another worker was faster
        self.storage.set_study_user_attr(study, "worker", f"{socket.gethostname()}:{os.getpid()}")
        return Claim(self, rung, following, study)

    def attempts(self, rung: str) -> int:
        """How often a rung was begun."""
        last = self._last_attempt(rung)
        return 0 if last is None else last + 1

    def exists(self, rung: str, attempt: int) -> bool:
        """Whether anybody made this attempt."""
        return self._study(rung, attempt) is not None

    def _is_free(self, rung: str, attempt: int) -> bool:
        study = self._study(rung, attempt)
        assert study is not None
        told = self.storage.get_study_user_attrs(study)
        if "state" in told:
            return told["state"] == RELEASED
        beat, now = int(told.get("beat", 0)), time.monotonic()
        before = self._seen.get(rung)
        if before is None or before[:2] != (attempt, beat):
            self._seen[rung] = (attempt, beat, now)
            return False
        return now - before[2] > self.lease_seconds

    def _last_attempt(self, rung: str) -> int | None:
        attempt = self._latest.get(rung, -1)
        while self.exists(rung, attempt + 1):
            attempt += 1
        self._latest[rung] = attempt
        return None if attempt < 0 else attempt

    def _study(self, rung: str, attempt: int) -> int | None:
        try:
            return self.storage.get_study_id_from_name(self._name(rung, attempt))
        except KeyError:
            return None

    def _name(self, rung: str, attempt: int) -> str:
        return f"{self.ladder}/{rung}#{attempt}"


class Claim:
    """An attempt at a rung that this process owns."""

    def __init__(self, claims: Claims, rung: str, attempt: int, study: int) -> None:
        self.claims, self.rung, self.attempt, self.study = claims, rung, attempt, study

    @contextmanager
    def held(self) -> Generator[None]:
        """Beat until the block ends: well, and the rung is finished; badly, and it is free."""
        over = threading.Event()
        beating = threading.Thread(target=self._beat, args=(over,), daemon=True)
        beating.start()
        try:
            yield
        except BaseException:
            self._tell("state", RELEASED)
            raise
        else:
            self._tell("state", FINISHED)
        finally:
            over.set()
            beating.join()

    def _beat(self, over: threading.Event) -> None:
        beat = 0
        while not over.wait(self.claims.lease_seconds / BEATS):
            if self.claims.exists(self.rung, self.attempt + 1):
                # Not an exception: two processes must not write one folder a moment longer.
                print(f"recscale: {self.rung} was taken over", file=sys.stderr, flush=True)  # noqa: T201
                os._exit(LOST)
            beat += 1
            self._tell("beat", beat)

    def _tell(self, key: str, value: Any) -> None:
        self.claims.storage.set_study_user_attr(self.study, key, value)
