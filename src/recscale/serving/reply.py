"""JSON answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import Response


def reply(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """ASCII only: a lone surrogate in what a client sent has no UTF-8 form."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return Response(text, status, headers, media_type="application/json")
