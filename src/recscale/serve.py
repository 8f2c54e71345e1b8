"""A trained run as a server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from recscale import configfile, pipeline
from recscale.pipeline import Places
from recscale.serving import app, server
from recscale.serving.service import Service

TOKEN = "RECSCALE_TOKEN"  # in the environment: a process list shows every argument


def serve(folder: Path, places: Places, settings: dict[str, Any]) -> None:
    """Answer until told to stop. Raises ConfigError for settings that do not fit."""
    config = configfile.check(server.ServerConfig, settings)
    _, store, model = pipeline.reopen(folder, places)
    service = Service(model, store, config.engine)
    server.serve(app.build(service, config.batch, folder.name, os.environ.get(TOKEN)), config)
