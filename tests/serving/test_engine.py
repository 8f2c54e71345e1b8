"""The engine: whatever happens between two scores, they are what evaluation would have said."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from recscale.models import build, memory
from recscale.models.memory import KeepEvents, KeepStates, ReadAnew, chain
from recscale.serving.engine import Engine, EngineConfig, Request
from recscale.serving.past import OutOfOrderError
from recscale.types import Batch, Candidates, History
from tests.models.conftest import MOMENT, World, make_world
from tests.models.test_contract import FLOORS, TRAINED

CONFIGS = TRAINED | FLOORS
WORLDS = {True: make_world(exposures=True), False: make_world(exposures=False)}
HOUR = 3_600_000
every_model = pytest.mark.parametrize("name", CONFIGS)


def make(name: str, world: World):
    torch.manual_seed(0)
    return build(CONFIGS[name], world.schema, world.catalogue).eval()


def engine(name: str, world: World, **settings: float | str) -> Engine:
    return Engine(make(name, world), world.schema, EngineConfig.model_validate(settings))


def events(world: World, count: int, start: int, seed: int) -> History:
    """`count` events from `start` on; every third shares its moment with the one before."""
    past = world.batch([count], [[]], seed).history
    step = torch.tensor([0 if n % 3 == 2 else HOUR * (n + 1) for n in range(count)])
    return replace(past, time=start + step.cumsum(0))


def request(world: World, user: str, time: int, count: int, seed: int) -> Request:
    batch = world.batch([0], [[0] * count], seed)
    return Request(
        user=user,
        time=time,
        items=batch.candidates.features["item"],
        context={"hour": batch.candidates.features["hour"][:1]},
        features={name: values[:1] for name, values in batch.user.items()},
    )


def offline(
    model, world: World, past: list[History], asked: Request, window: str = "newest"
) -> torch.Tensor:
    """The score of a batch cut from the log: the newest events before the request's own moment."""
    none = world.batch([0], [[]]).history
    history = chain([none, *past])
    stop = int((history.time < asked.time).sum())
    start = max(0, stop - world.schema.history)
    if window == "half":  # the model reads 16: of 17 events the newest 9, of 25 again 9
        start = -(-start // 8) * 8
    size = len(asked.items)
    batch = Batch(
        dict(asked.features),
        History(
            {name: values[start:stop] for name, values in history.features.items()},
            history.time[start:stop],
            torch.tensor([0, stop - start]),
        ),
        Candidates(
            {"item": asked.items, "hour": asked.context["hour"].expand(size)},
            torch.full((size,), asked.time),
            torch.full((size,), stop - start),
            {},
            torch.tensor([0, size]),
        ),
    )
    with torch.inference_mode():
        return model.score(batch)


def close(left: torch.Tensor, right: torch.Tensor) -> None:
    torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)


APPEND = st.tuples(st.just("append"), st.sampled_from("abc"), st.integers(1, 9))
SCORE = st.tuples(st.just("score"), st.sampled_from("abc"), st.integers(1, 9))
TIED = st.tuples(st.just("tied"), st.sampled_from("abc"), st.integers(1, 3))
# A state is kept, gone on with, and its window fills up and moves: nothing that chance must find.
FULL = [
    *[("append", "a", 5), ("score", "a", 4), ("append", "a", 2), ("score", "a", 4)],
    *[("append", "a", 9), ("score", "a", 3), ("append", "a", 1), ("score", "a", 3)],
    *[("append", "a", 9), ("score", "a", 3), ("tied", "a", 3), ("score", "a", 3)],
]
FORGET = st.tuples(st.just("forget"), st.sampled_from("abc"), st.just(0))


@every_model
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(st.one_of(APPEND, SCORE, TIED, FORGET), min_size=4, max_size=24),
    exposures=st.booleans(),
    room=st.sampled_from([0.0, 0.012, 1.0]),
    window=st.sampled_from(["newest", "half"]),
)
@example(steps=FULL, exposures=False, room=1.0, window="newest")
@example(steps=FULL, exposures=True, room=1.0, window="half")
def test_served_equals_offline_after_any_interleaving(name, steps, exposures, room, window):
    """Hazard 9: appends, scores, ties, evictions, and histories longer than the model reads."""
    world = WORLDS[exposures]
    served = engine(name, world, states_mib=room, micro_batch=5, window=window)
    model = make(name, world)
    happened: dict[str, list[History]] = {user: [] for user in "abc"}
    clock = dict.fromkeys("abc", MOMENT)
    for seed, (step, user, count) in enumerate(steps):
        if step == "append":
            new = events(world, count, clock[user], seed)
            served.append(user, new)
            happened[user].append(new)
            clock[user] = int(new.time[-1])
        elif step == "forget":
            served.states.drop(user)
        else:
            asked = [
                request(world, u, clock[u] + (step == "score") * HOUR, count, seed)
                for u in dict.fromkeys([user, "a", "b"])
            ]
            for one, found in zip(asked, served.score(asked), strict=True):
                close(found, offline(model, world, happened[one.user], one, window))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("hstu-forgetting", KeepStates),
        ("transformer-count", KeepStates),
        ("hstu-by-kind", ReadAnew),
        ("din-content", ReadAnew),
        ("transformer", KeepStates),
        ("din", KeepEvents),
        ("dcnv2", KeepEvents),
        ("recent", ReadAnew),
        ("popularity", ReadAnew),
    ],
)
def test_a_model_is_kept_as_its_structure_allows(name, kind):
    assert type(engine(name, WORLDS[True]).keeper) is kind


@pytest.mark.parametrize("name", ["hstu-forgetting", "transformer-forgetting"])
def test_many_events_at_once_pass_the_encoder_in_chunks(name, monkeypatch):
    monkeypatch.setattr(memory, "CHUNK", 3)
    world, past = WORLDS[False], events(WORLDS[False], 14, MOMENT, 0)
    served = engine(name, world)
    served.append("a", past)
    asked = request(world, "a", 2 * MOMENT, 3, 0)
    close(served.score([asked])[0], offline(make(name, world), world, [past], asked))


def test_states_stay_within_their_budget_and_leave_longest_unused_first():
    world = WORLDS[False]
    served = engine("hstu", world, states_mib=0.015)
    for user in "abcde":
        served.append(user, events(world, 10, MOMENT, 0))
        served.score([request(world, user, 2 * MOMENT, 2, 0)])
        assert served.states.nbytes <= 0.015 * 2**20
    assert "e" in served.states
    assert "a" not in served.states
    assert served.states.evicted == 5 - len(served.states)


def test_a_user_whose_events_had_to_leave_falls_back_to_what_is_known():
    world = WORLDS[False]
    known = events(world, 4, MOMENT, 1)
    model = make("hstu", world)
    settings = EngineConfig(events_mib=0.004)
    served = Engine(make("hstu", world), world.schema, settings, {"a": known}.get)
    asked = request(world, "a", 2 * MOMENT, 3, 0)
    more = events(world, 2, int(known.time[-1]), 2)
    served.append("a", more)
    close(served.score([asked])[0], offline(model, world, [known, more], asked))
    served.append("b", events(world, 5, MOMENT, 3))
    assert served.pasts.evicted == 1
    close(served.score([asked])[0], offline(model, world, [known], asked))


def test_events_out_of_order_are_refused_and_leave_nothing_behind():
    world = WORLDS[False]
    served = engine("hstu", world)
    new = events(world, 3, MOMENT, 0)
    served.append("a", new)
    with pytest.raises(OutOfOrderError, match="lies before the last event"):
        served.append("a", events(world, 3, MOMENT - HOUR * 90, 0))
    with pytest.raises(OutOfOrderError, match="lies before the last event"):
        served.append("b", replace(new, time=new.time.flip(0)))
    asked = request(world, "a", 2 * MOMENT, 3, 0)
    close(served.score([asked])[0], offline(make("hstu", world), world, [new], asked))
