"""HTTP only: parse, check, call the store, render.

Not here: what happens to a cluster next (controllers/), or how (steps/).
"""

from __future__ import annotations

from dayfly.api.app import create_api
from dayfly.api.dependencies import (
    LOOPBACK_HOSTS,
    ApiServices,
    Consoles,
    Diagnostics,
    Host,
    HostCapacity,
    ImageCatalog,
    MemoryGauge,
    MemoryUse,
    ReadinessCheck,
    TemplateKey,
)

__all__ = [
    "LOOPBACK_HOSTS",
    "ApiServices",
    "Consoles",
    "Diagnostics",
    "Host",
    "HostCapacity",
    "ImageCatalog",
    "MemoryGauge",
    "MemoryUse",
    "ReadinessCheck",
    "TemplateKey",
    "create_api",
]
