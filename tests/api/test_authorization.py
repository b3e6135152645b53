"""The authorization matrix: every operation of openapi.json, for every kind of caller, has its expected status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

from dayfly.api.operations import OPERATIONS, Reach, check_operations
from dayfly.domain.security.principal import Role
from dayfly.store import Store
from tests.api.access import OURS, ROLES, installation, make_belongings
from tests.api.test_bad_input import check_problem
from tests.support.api import Infrastructure, Worker
from tests.support.node_images import baked

REPO = Path(__file__).parents[2]

STRANGERS = ("nobody", "other scheme", "malformed", "unknown", "wrong secret", "expired", "revoked")
OTHERS = tuple(f"their {role}" for role in ROLES if role is not Role.OPERATOR)
OWN = tuple(f"our {role}" for role in ROLES)

REQUESTS: dict[str, tuple[dict[str, str], dict[str, Any] | None, int]] = {
    "getHealth": ({}, None, 200),
    "getReadiness": ({}, None, 200),
    "getVersion": ({}, None, 200),
    "getLoginOptions": ({}, None, 200),
    "getMetrics": ({}, None, 200),
    "getStatus": ({}, None, 200),
    "whoami": ({}, None, 200),
    "getUsage": ({}, None, 200),
    "listAudit": ({}, None, 200),
    "listAddons": ({}, None, 200),
    "listImages": ({}, None, 200),
    "getImage": ({"image": "k8s"}, None, 200),
    "promoteImage": ({"image": "k8s"}, {}, 200),
    "rollbackImage": ({"image": "k8s"}, {}, 409),  # nothing was promoted before
    "retireImage": ({"image": "k8s"}, {"image": "dayfly/k8s:bbbbbbbbbbbb"}, 200),
    "listOrphans": ({}, None, 200),
    "removeOrphans": ({}, None, 200),
    "createCluster": ({}, {"image": "bare"}, 202),
    "listClusters": ({}, None, 200),
    "getCluster": ({"cluster": "demo"}, None, 200),
    "changeCluster": ({"cluster": "demo"}, {"labels": {"a": "b"}}, 200),
    "sendHeartbeat": ({"cluster": "demo"}, None, 200),
    "listCheckpoints": ({"cluster": "demo"}, None, 200),
    "getCheckpoint": ({"cluster": "demo", "name": "kept"}, None, 200),
    "deleteCheckpoint": ({"cluster": "demo", "name": "kept"}, None, 202),
    "createCheckpoint": ({"cluster": "snapshot"}, {"name": "new"}, 202),
    "getDiagnostics": ({"cluster": "demo"}, None, 200),
    "listEvents": ({"cluster": "demo"}, None, 200),
    "getEvidence": ({"cluster": "broken", "name": "console"}, None, 200),
    "getKubeconfig": ({"cluster": "demo"}, None, 200),
    "listNodes": ({"cluster": "demo"}, None, 200),
    "getNodeConsole": ({"cluster": "demo", "node": "node01"}, None, 200),
    "getNodeSsh": ({"cluster": "demo", "node": "node01"}, None, 200),
    "listPorts": ({"cluster": "demo"}, None, 200),
    "getRegistry": ({"cluster": "demo"}, None, 200),
    "resetCluster": ({"cluster": "reset"}, None, 202),
    "hibernateCluster": ({"cluster": "hibernate"}, None, 202),
    "resumeCluster": ({"cluster": "resume"}, None, 202),
    "deleteCluster": ({"cluster": "delete"}, None, 202),
    "listAllEvents": ({}, None, 200),
    "createTemplate": ({}, {"image": "k8s"}, 202),
    "listTemplates": ({}, None, 200),
    "getTemplate": ({"template": "<template>"}, None, 200),
    "deleteTemplate": ({"template": "<template>"}, None, 202),
    "createPool": ({}, {"name": "another", "image": "bare", "size": 1}, 201),
    "listPools": ({}, None, 200),
    "getPool": ({"pool": "warm"}, None, 200),
    "changePool": ({"pool": "warm"}, {"size": 0}, 200),
    "deletePool": ({"pool": "<pool>"}, None, 202),
    "createBake": ({}, {"recipe": "bare"}, 202),
    "listBakes": ({}, None, 200),
    "getBake": ({"bake": "<bake>"}, None, 200),
    "listBakeEvents": ({"bake": "<bake>"}, None, 200),
    "cancelBake": ({"bake": "<bake>"}, None, 200),
    "createToken": ({}, {"name": "ci", "role": "viewer"}, 201),
    "listTokens": ({}, None, 200),
    "getToken": ({"token": "<token>"}, None, 200),
    "revokeToken": ({"token": "<token>"}, None, 200),
    "getQuota": ({}, None, 200),
    "getDefaultQuota": ({}, None, 200),
    "setDefaultQuota": ({}, {}, 200),
    "getTeamQuota": ({"team": OURS}, None, 200),
    "setTeamQuota": ({"team": OURS}, {}, 200),
    "createWebhook": ({}, {"url": "https://hooks.example/", "events": ["ready"]}, 201),
    "listWebhooks": ({}, None, 200),
    "getWebhook": ({"webhook": "<webhook>"}, None, 200),
    "changeWebhook": ({"webhook": "<webhook>"}, {"description": "ours"}, 200),
    "testWebhook": ({"webhook": "<webhook>"}, None, 202),
    "listWebhookDeliveries": ({"webhook": "<webhook>"}, None, 200),
    "getWebhookDelivery": ({"webhook": "<webhook>", "delivery": "<delivery>"}, None, 200),
    "redeliverWebhookDelivery": ({"webhook": "<webhook>", "delivery": "<delivery>"}, None, 202),
    "deleteWebhook": ({"webhook": "<webhook>"}, None, 200),
    "createTeam": ({}, {"name": "third"}, 201),
    "listTeams": ({}, None, 200),
    "getTeam": ({"team": OURS}, None, 200),
    "changeTeam": ({"team": OURS}, {"description": "us"}, 200),
    "deleteTeam": ({"team": OURS}, None, 409),  # it has clusters
}
"""Operation → path parameters of what `ours` has, body, and the status for callers who may. Of two names with <> the
id is taken.
"""


def operations() -> list[tuple[str, str, str]]:
    """(operation, method, path): what ends something comes last."""
    document = json.loads((REPO / "openapi.json").read_text())
    found = [
        (operation["operationId"], method, path)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return sorted(
        found, key=lambda one: (("get", "patch", "put", "post", "delete").index(one[1]), one[2] == "/v1/teams")
    )


def expected(operation_id: str, caller: str) -> int:
    assert operation_id in OPERATIONS, f"api/operations.py has no entry for {operation_id}"
    assert operation_id in REQUESTS, f"this test has no request for {operation_id}"
    operation = OPERATIONS[operation_id]
    parameters, _, success = REQUESTS[operation_id]
    if operation.role is None:
        return success
    if caller in STRANGERS:
        return 401
    team, _, role = caller.rpartition(" ")
    if not Role(role).includes(operation.role):
        return 403
    return 404 if team == "their" and operation.reach is Reach.TEAM and parameters else success


@pytest.mark.parametrize(
    "callers",
    [STRANGERS, (*OTHERS, "our viewer"), ("our user",), ("our admin",), ("our operator",)],
    ids=["strangers", "others", "user", "admin", "operator"],
)
async def test_matrix(store: Store, infrastructure: Infrastructure, worker: Worker, callers: tuple[str, ...]) -> None:
    """Callers of one case change nothing that the others of the case read."""
    for digest in ("b" * 12, "a" * 12):  # the last has the tag `latest`
        baked(infrastructure.stored, "k8s", digest)
    async with installation(store, infrastructure) as made:
        await make_belongings(store, worker, made.ids, made.http)
        wrong = []
        for caller in callers:
            headers = await made.headers(caller)
            for operation_id, method, path in operations():
                status = expected(operation_id, caller)
                parameters, body, _ = REQUESTS[operation_id]
                if body is not None and operation_id in {"createPool", "createTemplate"}:
                    # Another one for each caller.
                    own = {"name": caller.replace(" ", "-")} if operation_id == "createPool" else {}
                    body = {**body, **own, "workers": {"count": callers.index(caller)}}
                values = {name: made.ids.get(value.strip("<>"), value) for name, value in parameters.items()}
                answer = await made.http.request(method, path.format(**values), json=body, headers=headers)
                if answer.status_code != status:
                    wrong.append((caller, operation_id, answer.status_code, status, answer.text[:300]))
                elif status == 401:
                    check_problem(answer, 401, "unauthenticated")
                    assert answer.headers["www-authenticate"] == 'Bearer realm="dayfly"'
                elif status == 403:
                    check_problem(answer, 403, "forbidden")
                    needed = OPERATIONS[operation_id].role
                    assert f"{operation_id} needs the role {needed}" in answer.json()["detail"]
        assert wrong == []


def test_an_operation_without_an_entry_does_not_start() -> None:
    async def nothing() -> None:
        pass

    with pytest.raises(LookupError, match="does not say who may: doSomething"):
        check_operations([APIRoute("/v1/something", nothing, operation_id="doSomething")])
    with pytest.raises(LookupError, match="without a route"):
        check_operations([])
