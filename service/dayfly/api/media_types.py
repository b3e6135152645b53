"""Which media type a caller prefers, of routes that answer with JSON or with something else."""

from __future__ import annotations

import re
from typing import Final

from fastapi import Request

JSON: Final = "application/json"
_QUALITY: Final = re.compile(r";\s*q=([01](?:\.[0-9]{0,3})?)\s*(?:;|$)")


def prefers(request: Request, media_type: str) -> bool:
    """Whether the Accept header names `media_type`, and prefers no JSON."""
    accepted: dict[str, float] = {}
    for part in ",".join(request.headers.getlist("accept")).split(","):
        named = part.partition(";")[0].strip().lower()
        quality = _QUALITY.search(part)
        accepted[named] = float(quality[1]) if quality else 1.0
    wanted = accepted.get(media_type, 0.0)
    return wanted > 0 and wanted >= accepted.get(JSON, 0.0)
