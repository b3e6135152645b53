"""What callers may say of clusters, templates and pools, as keyword arguments, and the bodies of requests made of them.

The fields are those of schemas/cluster_requests.py and schemas/pools.py; a test compares the names. None, and what is
left out, is for the server to decide. Values are checked by the server alone, which may know more than this client.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Required, TypedDict

from pydantic_core import to_jsonable_python

from dayfly.schemas.cluster_requests import HoldRequest, PortRequest, SizeRequest
from dayfly.schemas.pools import Period


class ShapeOptions(TypedDict, total=False):
    """What machines are made of, and whose they are. `workers` of size `worker`; sizes left out come from the image."""

    image: Required[str]
    workers: int
    control_plane: SizeRequest
    worker: SizeRequest
    readiness: str | None
    owner: str | None


class ClusterOptions(ShapeOptions, total=False):
    labels: Mapping[str, str] | None
    ttl_seconds: int | None
    heartbeat_interval_seconds: int | None
    restart: str | None
    isolation: str | None
    idle_seconds: int | None
    hold: HoldRequest | None
    ports: Sequence[PortRequest] | None


class PoolOptions(ShapeOptions, total=False):
    """A pool: `size` clusters wait, `maximum` at most whatever the schedule says."""

    size: Required[int]
    maximum: int | None
    schedule: Sequence[Period]
    max_age_seconds: int | None


class ClusterChanges(TypedDict, total=False):
    """What is to be different. `labels` replace all; None takes away what was."""

    ttl_seconds: int | None
    labels: Mapping[str, str]
    hold: HoldRequest | None
    idle_seconds: int | None


class PoolChanges(TypedDict, total=False):
    """What of a pool is to be different. None: it stays."""

    size: int | None
    maximum: int | None
    schedule: Sequence[Period] | None
    max_age_seconds: int | None


def shape_body(options: Mapping[str, object]) -> dict[str, Any]:
    """The JSON of something that has a shape: over HTTP, the number of workers and their size are one object."""
    body = given(options)
    body["workers"] = {"count": body.get("workers", 0), **body.pop("worker", {})}
    return body


def given(options: Mapping[str, object]) -> dict[str, Any]:
    """The JSON of what is not None."""
    return as_json({name: value for name, value in options.items() if value is not None})


def as_json(options: Mapping[str, object]) -> dict[str, Any]:
    """The JSON of all that is there."""
    return to_jsonable_python(options, exclude_none=True)  # type: ignore[no-any-return]
