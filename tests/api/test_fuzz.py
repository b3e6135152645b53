"""Generated bodies: each is answered by a problem with a code, never by an internal error."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.test_bad_input import check_problem

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_SIZE = st.dictionaries(
    st.sampled_from(["vcpus", "memory_mib", "disk_gib", "count", "x"]), _JSON | st.integers(-9, 999)
)
_HOLD = st.fixed_dictionaries(
    {"reason": st.text(max_size=300) | _JSON},
    optional={
        "seconds": st.integers() | _JSON,
        "until": st.datetimes(timezones=st.timezones() | st.none()).map(datetime.isoformat) | st.text() | _JSON,
        "vms": st.sampled_from(["running", "stopped", "hibernated", ""]) | _JSON,
    },
)
_ALMOST = st.fixed_dictionaries(
    {"image": st.sampled_from(["bare", "k8s", "plain", "nothing"]) | _JSON},
    optional={
        "name": st.text(max_size=50) | st.from_regex(r"[a-z][a-z0-9-]{0,45}") | _JSON,
        "control_plane": _SIZE | _JSON,
        "workers": _SIZE | _JSON,
        "labels": st.dictionaries(st.text(), st.text()) | _JSON,
        "ttl_seconds": st.integers() | _JSON,
        "readiness": st.sampled_from(["usable", "nodes", "booted", ""]) | _JSON,
        "owner": st.text(max_size=70) | _JSON,
        "heartbeat_interval_seconds": st.integers() | _JSON,
        "restart": st.sampled_from(["always", "never", ""]) | _JSON,
        "isolation": st.sampled_from(["shared", "strict", ""]) | _JSON,
        "idle_seconds": st.integers() | _JSON,
        "ports": st.lists(
            st.fixed_dictionaries(
                {"name": st.text(max_size=45), "port": st.integers() | _JSON},
                optional={
                    "node": st.sampled_from(["node01", "node99", ""]) | _JSON,
                    "address": st.sampled_from(["192.168.67.10", "10.96.0.7", "10.0.0.1", "999.1.1.1", ""]) | _JSON,
                },
            )
        )
        | _JSON,
        "hold": _HOLD | _JSON,
    },
)
_ALMOST_POOL = st.fixed_dictionaries(
    {"image": st.sampled_from(["bare", "k8s", "plain"]), "size": st.integers(0, 64) | _JSON},
    optional={
        "name": st.text(max_size=50) | st.from_regex(r"[a-z][a-z0-9-]{0,45}") | _JSON,
        "owner": st.text(max_size=70) | _JSON,
        "maximum": st.integers(0, 64) | _JSON,
        "max_age_seconds": st.integers() | _JSON,
        "schedule": _JSON
        | st.lists(
            st.fixed_dictionaries(
                {
                    "days": st.lists(st.sampled_from(["mon", "sun", "x"])) | _JSON,
                    "since": st.times().map(lambda at: f"{at:%H:%M}") | _JSON,
                    "until": st.times().map(lambda at: f"{at:%H:%M}") | st.just("24:00") | _JSON,
                    "size": st.integers(0, 65) | _JSON,
                }
            ),
            max_size=3,
        ),
    },
)
_ALMOST_CHANGE = st.fixed_dictionaries(
    {},
    optional={
        "ttl_seconds": st.none() | st.integers() | _JSON,
        "labels": st.dictionaries(st.text(), st.text()) | _JSON,
        "hold": _HOLD | _JSON,
        "x": _JSON,
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=_ALMOST | _JSON)
async def test_no_body_is_a_defect_of_ours(http: httpx.AsyncClient, body: Any) -> None:
    content = json.dumps(body).encode()
    answer = await http.post("/v1/clusters", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in {202, 400, 409, 422}, answer.text
    if answer.status_code != 202:
        check_problem(answer, answer.status_code, answer.json()["code"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=_ALMOST_CHANGE | _JSON)
async def test_no_change_is_a_defect_of_ours(http: httpx.AsyncClient, body: Any) -> None:
    await http.post("/v1/clusters", json={"name": "changed", "image": "bare"})
    content, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    answer = await http.patch("/v1/clusters/changed", content=content, headers=headers)
    assert answer.status_code in {200, 400, 422}, answer.text
    if answer.status_code != 200:
        check_problem(answer, answer.status_code, answer.json()["code"])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(["pools", "templates"]), body=_ALMOST_POOL | _JSON)
async def test_no_pool_or_template_is_a_defect_of_ours(http: httpx.AsyncClient, path: str, body: Any) -> None:
    content, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    answer = await http.post(f"/v1/{path}", content=content, headers=headers)
    assert answer.status_code in {200, 201, 202, 400, 409, 422}, answer.text
    if answer.status_code >= 400:
        check_problem(answer, answer.status_code, answer.json()["code"])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["reset", "checkpoints", "hibernate", "resume"]),
    body=st.fixed_dictionaries({}, optional={"to": st.just("pristine") | _JSON, "name": st.text() | _JSON}) | _JSON,
)
async def test_no_state_is_a_defect_of_ours(http: httpx.AsyncClient, path: str, body: Any) -> None:
    await http.post("/v1/clusters", json={"name": "changed", "image": "bare"})
    content, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    answer = await http.post(f"/v1/clusters/changed/{path}", content=content, headers=headers)
    assert answer.status_code in {202, 400, 409, 422}, answer.text
    if answer.status_code >= 400:
        check_problem(answer, answer.status_code, answer.json()["code"])


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(min_size=1, max_size=200))
async def test_no_bytes_are_a_defect_of_ours(http: httpx.AsyncClient, content: bytes) -> None:
    answer = await http.post("/v1/clusters", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}
