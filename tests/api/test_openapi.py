"""openapi.json is the contract: it changes only on purpose."""

from __future__ import annotations

import json
from pathlib import Path

from dayfly.api.app import document

REPO = Path(__file__).parents[2]


def test_the_committed_contract_is_what_the_app_says() -> None:
    committed = (REPO / "openapi.json").read_text(encoding="utf-8")
    assert document() == committed, "run: dayfly openapi > openapi.json"


def test_it_is_the_same_every_time() -> None:
    assert document() == document()


def test_every_operation_has_an_id_and_tells_of_problems() -> None:
    seen: set[str] = set()
    for methods in json.loads(document())["paths"].values():
        for operation in methods.values():
            assert operation["operationId"] not in seen
            seen.add(operation["operationId"])
            problems = {s: r for s, r in operation["responses"].items() if s >= "400"}
            assert "500" in problems
            assert all("application/problem+json" in response["content"] for response in problems.values())
    assert {"createCluster", "getCluster", "deleteCluster", "getKubeconfig"} <= seen


def test_the_frameworks_own_errors_are_not_promised() -> None:
    assert "HTTPValidationError" not in document()


def test_no_parameter_is_null() -> None:
    """It would be sent as the four letters `null`."""
    for methods in json.loads(document())["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", []):
                assert {"type": "null"} not in parameter["schema"].get("anyOf", [])


def test_every_operation_has_the_statuses_of_the_checks_before_routes() -> None:
    for methods in json.loads(document())["paths"].values():
        for operation in methods.values():
            assert {"403", "408", "413", "414", "415", "421", "422", "503"} <= set(operation["responses"])


def test_statuses_of_the_engine_and_of_the_present_state_are_there() -> None:
    found = {
        operation["operationId"]: set(operation["responses"])
        for methods in json.loads(document())["paths"].values()
        for operation in methods.values()
    }
    for name in ("createCluster", "createTemplate", "createPool", "promoteImage", "listOrphans", "getNodeConsole"):
        assert "502" in found[name]
    for name in ("createCluster", "createBake", "createTeam", "getCluster"):
        assert "404" in found[name]
    for name in ("deleteCheckpoint", "deleteTeam", "listPorts", "getNodeConsole", "getKubeconfig"):
        assert "409" in found[name]
