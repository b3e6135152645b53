"""The client is generated: its models from the schemas, the synchronous half from the asynchronous half."""

from __future__ import annotations

from typing import Any

import pytest

from dayfly.client import options
from dayfly.schemas.base import RequestModel
from dayfly.schemas.cluster_requests import ChangeRequest, ClusterRequest, ShapeRequest
from dayfly.schemas.pools import PoolChangeRequest, PoolRequest
from tests.support.unasync import CLIENT, synchronous


def test_the_synchronous_client_is_what_the_asynchronous_one_makes() -> None:
    generated = synchronous()
    assert {path.name for path in generated} == {
        "sync_access.py",
        "sync_accounting.py",
        "sync_bakes.py",
        "sync_client.py",
        "sync_clusters.py",
        "sync_connection.py",
        "sync_quotas.py",
        "sync_waits.py",
        "sync_webhooks.py",
    }
    different = [path.name for path, content in generated.items() if path.read_text() != content]
    assert different == [], "run: python -m tests.support.unasync"
    assert set(CLIENT.glob("sync_*.py")) == set(generated)


@pytest.mark.parametrize(
    ("arguments", "request_model"),
    [
        (options.ShapeOptions, ShapeRequest),
        (options.ClusterOptions, ClusterRequest),
        (options.PoolOptions, PoolRequest),
        (options.ClusterChanges, ChangeRequest),
        (options.PoolChanges, PoolChangeRequest),
    ],
)
def test_every_field_of_a_request_is_an_argument(arguments: Any, request_model: type[RequestModel]) -> None:
    """`worker` is the size of the workers, `workers` their number; a name is a separate argument."""
    assert set(arguments.__annotations__) - {"worker"} == set(request_model.model_fields) - {"name"}
