"""The server as a client meets it."""

from __future__ import annotations

import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from benchmarks.serving_load import JSON, fuzzed
from recscale import pipeline
from recscale.evaluation.inference import inference
from recscale.features.batches import assemble
from recscale.features.requests import evaluation_rows
from recscale.pipeline import Places
from recscale.serving import app
from recscale.serving.batcher import BatchConfig
from recscale.serving.engine import EngineConfig
from recscale.serving.messages import MAX_CANDIDATES
from recscale.serving.service import Service
from recscale.types import UNSEEN
from tests.serving.conftest import PATIENT, Trained

NOON = 2_000_000_000_000  # after every event of the log


def names(service: Service, count: int) -> list[int | str]:
    return service.codec.names[:count]


def user(service: Service, place: int = 0) -> int | str:
    return list(service.codec.users)[place]


def test_every_test_request_gets_its_offline_scores_over_http(
    client: TestClient, service: Service, run: Trained
):
    """Hazard 9. The server knows the whole log, and each request sees what lies before its time."""
    store = run.store
    rows = evaluation_rows(store, "test", store.schema.history, positive=False)
    users = list(service.codec.users)
    hours = {number: raw for raw, number in service.codec.tables["event/hour"].items()}
    compared = 0
    for place in range(len(rows)):
        batch = assemble(store, rows, np.array([place]))
        with inference(run.model):
            expected = run.model.score(batch)
        ahead = batch.candidates
        for item, hour, moment, score in zip(
            *(ahead.features[name].tolist() for name in ("item", "hour")),
            ahead.time.tolist(),
            expected.tolist(),
            strict=True,
        ):
            if item == UNSEEN:
                continue
            message = {
                "user": users[int(batch.user["user_index"][0])],
                "items": [service.codec.name(item)],
                "time": moment,
                "context": {"hour": hours.get(hour)},
            }
            answer = client.post("/score", json=message)
            assert answer.status_code == 200, answer.text
            assert answer.json()["scores"] == pytest.approx([score], rel=1e-5, abs=1e-5)
            compared += 1
    assert compared > 100


def test_an_event_is_seen_by_the_next_request(client: TestClient, service: Service):
    asked = {"user": user(service), "items": names(service, 5), "time": NOON + 5000}
    before = client.post("/score", json=asked).json()["scores"]
    event = {"item": names(service, 9)[8], "time": NOON, "features": {"clicked": 1, "hour": 3}}
    told = client.post("/events", json={"user": user(service), "events": [event]})
    assert told.json() == {"appended": 1, "unknown_items": 0}
    after = client.post("/score", json=asked).json()["scores"]
    assert before != after
    other = client.post("/score", json={**asked, "user": user(service, 1)}).json()["scores"]
    assert other not in (before, after)


def test_recommended_are_the_items_of_the_highest_scores(client: TestClient, service: Service):
    asked = {"user": user(service), "time": NOON}
    answer = client.post("/recommend", json={**asked, "count": 7}).json()
    request = service._request(app.Recommend(**asked, count=7))
    product = service.engine.queries([request])[0] @ service.engine.item_vectors()[2:].T
    best = product.topk(7)
    assert answer["items"] == [service.codec.names[place] for place in best.indices.tolist()]
    assert answer["scores"] == pytest.approx(best.values.tolist())
    seen = set(service.engine.visible(request).features["item"].tolist())
    fresh = client.post("/recommend", json={**asked, "count": 50, "seen": "removed"}).json()
    assert not seen & {service.codec.item(name) for name in fresh["items"]}


def test_somebody_new_is_served(client: TestClient, service: Service):
    asked = {"user": "nobody yet", "items": names(service, 3), "features": {"segment": "s1"}}
    assert len(client.post("/score", json=asked).json()["scores"]) == 3


MISTAKES = [
    ("/score", {"items": ["ITEM"]}, "user"),
    ("/score", {"user": 1, "items": []}, "items"),
    ("/score", {"user": 1, "items": ["ITEM", "no such item"]}, "items.1"),
    ("/score", {"user": 1, "items": ["ITEM"], "tiem": 3}, "tiem"),
    ("/score", {"user": 1, "items": ["ITEM"], "time": "noon"}, "time"),
    ("/score", {"user": 1, "items": ["ITEM"], "time": 2**60}, "time"),
    ("/score", {"user": 1, "items": ["ITEM"], "context": {"colour": 3}}, "context"),
    ("/score", {"user": 1, "items": ["ITEM"] * (MAX_CANDIDATES + 1)}, "items"),
    ("/recommend", {"user": 1, "count": 0}, "count"),
    ("/recommend", {"user": 1, "seen": "maybe"}, "seen"),
    ("/events", {"user": 1, "events": [{"time": 5}]}, "events.0.item"),
    ("/events", {"user": "USER", "events": [{"item": "ITEM", "time": 5}]}, "events.0.time"),
    (
        "/events",
        {"user": 1, "events": [{"item": "ITEM", "time": 9}, {"item": "ITEM", "time": 5}]},
        "events.1.time",
    ),
]


@pytest.mark.parametrize(("path", "message", "field"), MISTAKES)
def test_a_mistake_gets_a_4xx_that_names_the_field(
    client: TestClient, service: Service, path: str, message: dict[str, object], field: str
):
    text = json.dumps(message).replace('"ITEM"', json.dumps(names(service, 1)[0]))
    answer = client.post(
        path, content=text.replace('"USER"', json.dumps(user(service))), headers=JSON
    )
    assert answer.status_code == 422, answer.text
    assert answer.json()["field"].startswith(field)
    assert field in answer.json()["error"]


def test_what_is_no_json_and_what_is_too_large_is_refused(client: TestClient):
    for text in (b"", b"{", b"[" * 100_000, b"\xff\xfe"):
        answer = client.post("/score", content=text, headers=JSON)
        assert answer.status_code in (400, 422)
        assert answer.json()["field"] == "body"
    assert client.post("/score", content=b" " * (2**20 + 1), headers=JSON).status_code == 413
    pieces = (b" " * 2**16 for _ in range(20))  # no length is told
    assert client.post("/score", content=pieces, headers=JSON).status_code == 413


def test_no_fuzzed_request_is_a_server_error(client: TestClient, service: Service):
    generator = random.Random(1)
    items, users = service.codec.names, list(service.codec.users)
    statuses: list[int] = []
    for _ in range(400):
        path, body = fuzzed(generator, items, users)
        answer = client.post(path, content=body, headers=JSON)
        statuses.append(answer.status_code)
        assert answer.status_code < 500, (path, body[:500], answer.text)
    assert {200, 422} <= set(statuses)
    assert client.get("/health").json()["status"] == "ok"


def test_a_token_is_asked_for_where_one_is_set(service: Service):
    with TestClient(app.build(service, PATIENT, "run", token="secret")) as client:
        asked = {"user": 1, "items": names(service, 1)}
        assert client.post("/score", json=asked).status_code == 401
        wrong = {"Authorization": "Bearer secreT"}
        assert client.post("/score", json=asked, headers=wrong).status_code == 401
        right = {"Authorization": "Bearer secret"}
        assert client.post("/score", json=asked, headers=right).status_code == 200
        assert client.get("/metrics").status_code == 401
        assert client.get("/health").status_code == 200


def test_metrics_count_answers_and_tell_where_time_went(client: TestClient, service: Service):
    client.post("/score", json={"user": 1, "items": names(service, 2)})
    client.post("/score", json={"user": 1, "items": []})
    client.get("/nowhere/17")
    text = client.get("/metrics").text
    assert 'recscale_requests_total{path="/score",status="200"} 1.0' in text
    assert 'recscale_requests_total{path="/score",status="422"} 1.0' in text
    assert 'recscale_requests_total{path="other",status="404"} 1.0' in text
    assert 'recscale_stage_seconds_total{stage="score"}' in text
    assert "recscale_users_held 1.0" in text


def test_an_overloaded_server_refuses_before_it_reads_the_body(service: Service):
    """The model thread is held up; what cannot be answered within budget is told when to retry."""
    hold, begun = threading.Event(), threading.Event()
    answer = service.answer

    def slow(messages):
        begun.set()
        hold.wait(10)
        return answer(messages)

    service.answer = slow
    config = BatchConfig(budget_ms=5000, jobs=1, wait_ms=0)
    with TestClient(app.build(service, config, "run")) as client:
        batcher = client.app.user_middleware[0].kwargs["batcher"]
        batcher._usual = 4.9
        asked = {"user": 1, "items": names(service, 1)}
        first = threading.Thread(target=client.post, args=("/score",), kwargs={"json": asked})
        first.start()
        begun.wait(10)
        refused = client.post("/score", content=b"not even JSON")
        hold.set()
        first.join()
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) >= 1


def test_a_folder_prepared_before_vocabularies_were_kept_says_what_to_do(
    run: Trained, tmp_path: Path
):
    old = tmp_path / "prepared"
    shutil.copytree(run.places.prepared, old)
    digest = json.loads((run.folder / "schema.json").read_text())["digest"]
    (old / digest / "users" / "names.parquet").unlink()
    _, store, model = pipeline.reopen(run.folder, Places(run.places.raw, old))
    with pytest.raises(ValueError, match="older version: remove .* and prepare it again"):
        Service(model, store, EngineConfig())


def test_a_server_in_a_process_of_its_own_answers_on_loopback_and_stops_when_told(run: Trained):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["serve", str(run.folder), "--port", str(port), "--budget-ms", "60000"]
    places = ["--prepared", str(run.places.prepared), "--data", str(run.places.raw)]
    process = subprocess.Popen(
        [sys.executable, "-m", "recscale", *words, *places], stderr=subprocess.PIPE, text=True
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(1200):
            try:
                httpx.get(f"{address}/health")
                break
            except httpx.HTTPError:
                assert process.poll() is None, process.communicate()[1]
                time.sleep(0.05)
        asked = {"user": 1, "count": 50}
        answer = httpx.post(f"{address}/recommend", json=asked, timeout=60)
    finally:
        process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert answer.status_code == 200
    assert "Traceback" not in errors
    assert process.returncode in (0, -signal.SIGTERM)
    assert torch.tensor(answer.json()["scores"]).isfinite().all()
