"""The service over HTTP: who may ask, how much at once, and what is said when it cannot be."""

from __future__ import annotations

import hmac
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recscale.features.codec import FieldError
from recscale.serving.batcher import BatchConfig, Batcher, OverloadedError
from recscale.serving.messages import Events, Recommend, Score
from recscale.serving.monitor import Monitor
from recscale.serving.past import OutOfOrderError
from recscale.serving.reply import reply
from recscale.serving.service import Service

MAX_BODY = 2**20  # bytes
OPEN = ("/health",)  # for whoever restarts the server; it tells nothing of users
WORK = ("/score", "/recommend", "/events")


def build(service: Service, config: BatchConfig, name: str, token: str | None = None) -> FastAPI:
    """The application; its one model thread lives as long as it does."""
    monitor = Monitor(service)
    batcher = Batcher(monitor.timed(service.answer), config)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        yield
        batcher.close()

    app = FastAPI(
        title="recscale", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None
    )
    _answer(app, batcher)
    _tell(app, service, batcher, monitor, name)
    _refuse(app)
    app.add_middleware(Door, batcher=batcher, monitor=monitor, token=token)
    return app


def _answer(app: FastAPI, batcher: Batcher) -> None:
    """The three verbs that the model thread serves."""

    async def ask(request: Request, message: Any) -> Response:
        return reply(await batcher.submit(message, request.scope["arrived"]))

    @app.post("/score")
    async def score(request: Request, message: Score) -> Response:
        return await ask(request, message)

    @app.post("/recommend")
    async def recommend(request: Request, message: Recommend) -> Response:
        return await ask(request, message)

    @app.post("/events")
    async def events(request: Request, message: Events) -> Response:
        return await ask(request, message)

    del score, recommend, events  # FastAPI holds them


def _tell(app: FastAPI, service: Service, batcher: Batcher, monitor: Monitor, name: str) -> None:
    @app.get("/health")
    async def health() -> Response:
        found = service.index
        search = {} if found is None else {"index": type(found).__name__, "recall": found.recall}
        return reply({"status": "ok", "run": name, "waiting": batcher.waiting, **search})

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(monitor.text(batcher), media_type="text/plain; version=0.0.4")

    del health, metrics


def _refuse(app: FastAPI) -> None:
    """One line that names the field, whatever was wrong."""

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        # The first part says "body", and the number behind a JSON error is a place in the text.
        path = [str(part) for part in first["loc"][1:]] if first["type"] != "json_invalid" else []
        field = ascii(".".join(path))[1:-1][:200] or "body"
        return reply({"error": f"{field}: {ascii(first['msg'])[1:-1][:200]}", "field": field}, 422)

    @app.exception_handler(FieldError)
    @app.exception_handler(OutOfOrderError)
    async def unusable(_: Request, error: ValueError) -> Response:
        return reply({"error": str(error), "field": str(error).partition(":")[0]}, 422)

    @app.exception_handler(OverloadedError)
    async def overloaded(_: Request, error: OverloadedError) -> Response:
        return _come_back(error)

    @app.exception_handler(HTTPException)
    async def other(_: Request, error: HTTPException) -> Response:
        return reply({"error": str(error.detail), "field": "body"}, error.status_code)

    del malformed, unusable, overloaded, other


def _come_back(error: OverloadedError) -> Response:
    return reply({"error": str(error)}, 429, {"Retry-After": str(error.seconds)})


class Door:
    """Before a body is read: the token, its size, and whether there is time for it at all."""

    def __init__(self, app: ASGIApp, batcher: Batcher, monitor: Monitor, token: str | None) -> None:
        self.app, self.batcher, self.monitor = app, batcher, monitor
        self.expected = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope["arrived"] = time.monotonic()
        sent = self.monitor.counted(scope, send)
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, sent)
            return
        await self.app(scope, _limited(receive), sent)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = dict(scope["headers"])
        if self.expected is not None and scope["path"] not in OPEN:
            told = headers.get(b"authorization", b"")
            if not hmac.compare_digest(told, self.expected):
                return reply({"error": "authorization: want a bearer token"}, 401)
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > MAX_BODY:
            return reply({"error": f"body: want at most {MAX_BODY} bytes", "field": "body"}, 413)
        if scope["path"] in WORK:
            try:
                self.batcher.check()
            except OverloadedError as error:
                return _come_back(error)
        return None


def _limited(receive: Receive) -> Callable[[], Awaitable[Message]]:
    """The same body, refused where it grows beyond what its length promised."""
    seen = 0

    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > MAX_BODY:
            raise HTTPException(413, f"body: want at most {MAX_BODY} bytes")
        return message

    return limited
