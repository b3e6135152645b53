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
    """Shape and owner of a cluster. `workers` of size `worker`; the image has the default sizes."""

    image: Required[str]
    workers: int
    control_plane: SizeRequest
    worker: SizeRequest
    readiness: str | None
    owner: str | None
    addons: Sequence[str] | None


class ClusterOptions(ShapeOptions, total=False):
    labels: Mapping[str, str] | None
    ttl_seconds: int | None
    heartbeat_interval_seconds: int | None
    restart: str | None
    isolation: str | None
    idle_seconds: int | None
    hold: HoldRequest | None
    ports: Sequence[PortRequest] | None
    conformance: Sequence[str] | None


class PoolOptions(ShapeOptions, total=False):
    """A pool of `size` paused forks; `maximum` also bounds the schedule's sizes."""

    size: Required[int]
    maximum: int | None
    schedule: Sequence[Period]
    max_age_seconds: int | None


class ClusterChanges(TypedDict, total=False):
    """Fields to update. `labels` and `addons` replace all; None removes a value."""

    ttl_seconds: int | None
    labels: Mapping[str, str]
    hold: HoldRequest | None
    idle_seconds: int | None
    addons: Sequence[str]


class PoolChanges(TypedDict, total=False):
    """Fields to update; None keeps the value."""

    size: int | None
    maximum: int | None
    schedule: Sequence[Period] | None
    max_age_seconds: int | None


def shape_body(options: Mapping[str, object]) -> dict[str, Any]:
    """The JSON of options with a shape: in HTTP requests, the number of workers and their size are one object."""
    body = given(options)
    body["workers"] = {"count": body.get("workers", 0), **body.pop("worker", {})}
    return body


def given(options: Mapping[str, object]) -> dict[str, Any]:
    """The JSON of the options that are not None."""
    return as_json({name: value for name, value in options.items() if value is not None})


def as_json(options: Mapping[str, object]) -> dict[str, Any]:
    """The JSON of all that is there."""
    return to_jsonable_python(options, exclude_none=True)  # type: ignore[no-any-return]
