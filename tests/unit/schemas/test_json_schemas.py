"""openapi.json refuses what the models of requests refuse, and accepts what they accept."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from pydantic import ValidationError

from dayfly.schemas.access import TeamRequest
from dayfly.schemas.bakes import BakeRequest
from dayfly.schemas.base import RequestModel
from dayfly.schemas.cluster_requests import ChangeRequest, ClusterRequest, HoldRequest, PortRequest
from dayfly.schemas.pools import PoolRequest
from dayfly.schemas.templates import TemplateRequest

CLUSTER: dict[str, Any] = {"image": "k8s"}
HOLD: dict[str, Any] = {"reason": "why", "seconds": 60}
PORT: dict[str, Any] = {"name": "web", "port": 80}


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (ClusterRequest, {**CLUSTER, "workers": {"count": 2.0}, "ttl_seconds": 60.0}),
        (ClusterRequest, {**CLUSTER, "readiness": "conformance", "conformance": ["[sig-a] one"]}),
        (ClusterRequest, {**CLUSTER, "conformance": []}),
        (ClusterRequest, {**CLUSTER, "labels": {"a/b": "Käse 4 €", "c": ""}}),
        (HoldRequest, HOLD),
        (HoldRequest, {"reason": "why", "until": "2026-12-01T18:00:00Z", "seconds": None}),
        (PortRequest, {**PORT, "node": "node02", "address": None}),
        (BakeRequest, {"recipe": "bare", "definition": None, "variables": {"a": 1.0}}),
        (BakeRequest, {"definition": {"name": "own"}, "variables": {}}),
        (PoolRequest, {"image": "k8s", "name": "ci", "size": 1.0}),
        (TeamRequest, {"name": "storage", "description": "Storage\u00a0team"}),
        (ChangeRequest, {"hold": None}),
    ],
)
def test_what_is_accepted_fits_the_schema(model: type[RequestModel], body: dict[str, Any]) -> None:
    model.model_validate(body)
    assert fits(model, body)


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (ClusterRequest, {**CLUSTER, "workers": {"count": 2.5}}),
        (ClusterRequest, {**CLUSTER, "conformance": ["[sig-a] one"]}),
        (ClusterRequest, {**CLUSTER, "readiness": "conformance", "conformance": [" "]}),
        (ClusterRequest, {**CLUSTER, "labels": {"-a": ""}}),
        (ClusterRequest, {**CLUSTER, "labels": {"a": "line\nline"}}),
        (ClusterRequest, {**CLUSTER, "labels": {"a": "turned \u202e round"}}),
        (ClusterRequest, {**CLUSTER, "labels": {"a": "x" * 256}}),
        (ClusterRequest, {**CLUSTER, "labels": {f"a{number}": "" for number in range(33)}}),
        (ClusterRequest, {**CLUSTER, "addons": ["tea", "tea"]}),
        (HoldRequest, {"reason": "why"}),
        (HoldRequest, {"reason": "why", "until": None, "seconds": None}),
        (HoldRequest, {**HOLD, "until": "2026-12-01T18:00:00Z"}),
        (HoldRequest, {**HOLD, "reason": " "}),
        (PortRequest, {**PORT, "node": "node02", "address": "10.96.0.7"}),
        (BakeRequest, {}),
        (BakeRequest, {"recipe": "bare", "definition": {"name": "own"}}),
        (BakeRequest, {"definition": {"name": "own"}, "variables": {"a": 1}}),
        (BakeRequest, {"recipe": "bare", "conformance": ["[sig-a] one"]}),
        (TeamRequest, {"name": "storage", "description": "\x07"}),
        (ChangeRequest, {}),
    ],
)
def test_what_is_refused_does_not_fit_the_schema(model: type[RequestModel], body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        model.model_validate(body)
    assert not fits(model, body)


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (ClusterRequest, {**CLUSTER, "name": "Demo"}),
        (ClusterRequest, {**CLUSTER, "workers": {"count": 99}}),
        (ClusterRequest, {**CLUSTER, "control_plane": {"disk_gib": 16385}}),
        (PortRequest, {**PORT, "address": "10.95.0.7"}),
        (PortRequest, {**PORT, "address": "192.168.67.0"}),
        (PortRequest, {**PORT, "address": "10.96.0.256"}),
        (TemplateRequest, {**CLUSTER, "readiness": "conformance"}),
        (PoolRequest, {**CLUSTER, "name": "ci", "size": 1, "readiness": "conformance"}),
    ],
)
def test_what_routes_refuse_does_not_fit_the_schema(model: type[RequestModel], body: dict[str, Any]) -> None:
    """Models accept these: tests/api/test_bad_input.py has the codes that routes answer with."""
    model.model_validate(body)
    assert not fits(model, body)


def fits(model: type[RequestModel], body: dict[str, Any]) -> bool:
    schema = json.loads(json.dumps(model.model_json_schema()))
    return jsonschema_rs.Draft202012Validator(schema).is_valid(body)
