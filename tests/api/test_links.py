"""Links of openapi.json: from each creation to what takes what it made. The document is compared in test_openapi.py."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from dayfly.api.app import bare_app
from dayfly.api.links import add_links

CREATIONS = {
    "createCluster": "getCluster",
    "createCheckpoint": "getCheckpoint",
    "createTemplate": "getTemplate",
    "createPool": "getPool",
    "createBake": "getBake",
    "createToken": "getToken",
    "createTeam": "getTeam",
    "createWebhook": "getWebhook",
    "testWebhook": "getWebhookDelivery",
}


def operations() -> dict[str, tuple[str, dict[str, Any]]]:
    """Operation id → its path, and the operation."""
    paths = bare_app().openapi()["paths"]
    return {one["operationId"]: (path, one) for path, methods in paths.items() for one in methods.values()}


def links_of(operation: dict[str, Any]) -> dict[str, Any]:
    return {
        name: link for response in operation["responses"].values() for name, link in response.get("links", {}).items()
    }


def test_every_creation_links_to_what_it_made() -> None:
    found = {name: links_of(operation) for name, (_, operation) in operations().items()}
    assert {name for name, links in found.items() if links} == set(CREATIONS)
    for name, item in CREATIONS.items():
        assert item in found[name]


def test_a_cluster_links_to_all_that_it_has() -> None:
    known = operations()
    links = links_of(known["createCluster"][1])
    assert set(links) == {name for name, (path, _) in known.items() if path.startswith("/v1/clusters/{cluster}")}
    assert links["getNodeSsh"]["parameters"] == {"cluster": "$response.body#/id", "node": "node01"}


def test_a_part_links_with_its_whole() -> None:
    links = links_of(operations()["createCheckpoint"][1])
    assert links["deleteCheckpoint"] == {
        "operationId": "deleteCheckpoint",
        "parameters": {"cluster": "$request.path.cluster", "name": "$response.body#/name"},
    }


def test_a_team_links_to_its_quota_too() -> None:
    links = links_of(operations()["createTeam"][1])
    assert {"getTeam", "deleteTeam", "getTeamQuota", "setTeamQuota"} <= set(links)
    assert links["setTeamQuota"]["parameters"] == {"team": "$response.body#/name"}


def test_links_have_parameters_of_their_operations() -> None:
    known = operations()
    for _, operation in known.values():
        for name, link in links_of(operation).items():
            assert link["operationId"] == name
            names = {one["name"] for one in known[name][1].get("parameters", []) if one["in"] == "path"}
            assert set(link["parameters"]) <= names


def test_a_creation_without_an_item_is_a_defect() -> None:
    made = {
        "headers": {"Location": {}},
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/X"}}},
    }
    document = {
        "paths": {"/v1/things": {"post": {"operationId": "createThing", "responses": {"201": made}}}},
        "components": {"schemas": {"X": {"properties": {"id": {}}}}},
    }
    with pytest.raises(LookupError, match="no operation gets an item with the fields id"):
        add_links(document)


async def test_the_location_is_the_links_item(http: httpx.AsyncClient) -> None:
    made = await http.post("/v1/webhooks", json={"url": "https://hooks.example/"})
    tested = await http.post(f"{made.headers['location']}/test")
    assert (await http.get(tested.headers["location"])).json()["id"] == tested.json()["id"]
