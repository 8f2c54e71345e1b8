"""The application in a process of its own."""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI

from recscale.configfile import Settings
from recscale.serving.batcher import BatchConfig
from recscale.serving.engine import EngineConfig

DRAIN = 30  # seconds that answers under way are given when the server is told to stop


class ServerConfig(Settings):
    """Where to listen. Loopback unless told: there is no encryption here."""

    host: str = "127.0.0.1"
    port: int = 8000
    engine: EngineConfig = EngineConfig()
    batch: BatchConfig = BatchConfig()


def serve(app: FastAPI, config: ServerConfig) -> None:
    """Until it is told to stop; what was accepted is answered first."""
    print(f"listening on http://{config.host}:{config.port}", file=sys.stderr)  # noqa: T201
    uvicorn.run(
        app,
        host=config.host,
        port=config.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN,
    )
