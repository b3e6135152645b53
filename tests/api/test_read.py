"""Reading clusters: one, many, nodes, ports, events, and access."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import jsonschema_rs
import pytest
import yaml

from dayfly.domain.cluster.boot_source import HIBERNATION, TEMPLATE, BootSource
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import StepReport, StepState
from dayfly.errors import (
    CommandFailed,
    ContainerExited,
    DayflyError,
    EngineRefused,
    EngineUnavailable,
    Internal,
    VmExited,
)
from dayfly.store import Store
from tests.support.api import ApiHttp, Infrastructure, Worker


async def create(http: httpx.AsyncClient, name: str, image: str = "bare", **body: object) -> str:
    answer = await http.post("/v1/clusters", json={"name": name, "image": image, **body})
    assert answer.status_code == 202, answer.text
    identity: str = answer.json()["id"]
    return identity


async def test_a_cluster_is_found_by_id_and_by_name(http: httpx.AsyncClient) -> None:
    identity = await create(http, "demo")
    assert (await http.get(f"/v1/clusters/{identity}")).json()["name"] == "demo"
    assert (await http.get("/v1/clusters/demo")).json()["id"] == identity


async def test_a_ready_cluster_shows_steps_and_endpoints(http: httpx.AsyncClient, worker: Worker) -> None:
    await create(http, "demo", "k8s", workers={"count": 1})
    await worker.make()
    cluster = (await http.get("/v1/clusters/demo")).json()
    assert cluster["phase"] == "ready"
    assert cluster["ready_at"] is not None
    assert set(cluster["endpoints"]) == {"api", "registry", "ssh/node01", "ssh/node02"}
    assert [(step["name"], step["node"], step["state"]) for step in cluster["steps"]] == [
        ("boot", "node01", "done"),
        ("boot", "node02", "done"),
    ]
    assert cluster["steps"][0]["seconds"] == 0


async def test_a_failed_cluster_shows_why_and_its_evidence(http: httpx.AsyncClient, worker: Worker) -> None:
    await create(http, "demo")
    await worker.fail({"node01/console": "Kernel panic", "logs": "x"})
    error = (await http.get("/v1/clusters/demo")).json()["error"]
    assert (error["code"], error["step"], error["node"]) == ("vm_exited", "boot", "node01")
    assert error["evidence"] == ["logs", "node01/console"]
    text = await http.get("/v1/clusters/demo/evidence/node01/console")
    assert text.text == "Kernel panic"
    assert text.headers["content-type"].startswith("text/plain")
    assert (await http.get("/v1/clusters/demo/evidence/nothing")).json()["code"] == "not_found"
    assert (await http.get("/v1/clusters")).json()["clusters"][0]["error"]["code"] == "vm_exited"


async def test_pages_lead_from_one_to_the_next(http: httpx.AsyncClient) -> None:
    for index in range(5):
        await create(http, f"demo-{index}", labels={"team": "a b&c"})
    seen: list[str] = []
    url = "/v1/clusters?limit=2&label=team%3Da%20b%26c"
    for _ in range(3):
        answer = await http.get(url)
        seen += [one["name"] for one in answer.json()["clusters"]]
        following = answer.links.get("next")
        if following is None:
            break
        url = following["url"]
    assert seen == [f"demo-{index}" for index in (4, 3, 2, 1, 0)]
    assert following is None
    assert answer.json()["next_cursor"] is None


async def test_listing_by_label_and_phase(http: httpx.AsyncClient, worker: Worker) -> None:
    await create(http, "ready", labels={"team": "a", "job": "1"})
    await worker.make()
    await create(http, "other", labels={"team": "a", "job": "2"})

    async def names(query: str) -> set[str]:
        return {one["name"] for one in (await http.get(f"/v1/clusters?{query}")).json()["clusters"]}

    assert await names("label=team=a") == {"ready", "other"}
    assert await names("label=team=a&label=job=2") == {"other"}
    assert await names("label=team=b") == set()
    assert await names("phase=ready") == {"ready"}
    assert await names("phase=ready&phase=pending") == {"ready", "other"}
    assert await names("phase=deleted") == set()


async def test_the_kubeconfig_of_a_ready_cluster(http: httpx.AsyncClient, worker: Worker) -> None:
    await create(http, "demo", "k8s")
    early = await http.get("/v1/clusters/demo/kubeconfig")
    assert (early.status_code, early.json()["code"]) == (409, "not_ready")
    ready = await worker.make()
    answer = await http.get("/v1/clusters/demo/kubeconfig")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/yaml")
    assert answer.headers["cache-control"] == "no-store"
    kubeconfig = yaml.safe_load(answer.text)
    description = (await http.get("/openapi.json")).json()["paths"]["/v1/clusters/{cluster}/kubeconfig"]["get"]
    schema = description["responses"]["200"]["content"]["application/yaml"]["schema"]
    jsonschema_rs.Draft202012Validator(schema).validate(kubeconfig)
    cluster = kubeconfig["clusters"][0]["cluster"]
    assert cluster["server"] == f"https://{ready.endpoints[6443]}"
    assert "insecure-skip-tls-verify" not in cluster
    await http.delete("/v1/clusters/demo")
    late = await http.get("/v1/clusters/demo/kubeconfig")
    assert (late.status_code, late.json()["code"]) == (409, "not_ready")


@pytest.mark.parametrize("body", [{"image": "bare"}, {"image": "k8s", "readiness": "booted"}])
async def test_machines_without_kubernetes_have_no_kubeconfig(
    http: httpx.AsyncClient, worker: Worker, body: dict[str, str]
) -> None:
    await create(http, "demo", **body)
    await worker.make()
    answer = await http.get("/v1/clusters/demo/kubeconfig")
    assert (answer.status_code, answer.json()["code"]) == (404, "no_kubernetes")


async def test_the_registry(http: httpx.AsyncClient, worker: Worker) -> None:
    await create(http, "demo")
    assert (await http.get("/v1/clusters/demo/registry")).json()["code"] == "not_ready"
    ready = await worker.make()
    answer = (await http.get("/v1/clusters/demo/registry")).json()
    assert answer == {"push": str(ready.endpoints[5000]), "pull": "registry:5000"}


async def test_the_nodes(http: httpx.AsyncClient, worker: Worker) -> None:
    await create(http, "demo", workers={"count": 1, "memory_mib": 300})
    await worker.make()
    first, second = (await http.get("/v1/clusters/demo/nodes")).json()["nodes"]
    assert (first["name"], first["role"], first["address"]) == ("node01", "control-plane", "192.168.66.101")
    assert (second["name"], second["role"], second["size"]["memory_mib"]) == ("node02", "worker", 300)
    assert first["ssh"] != second["ssh"]
    assert [step["node"] for step in second["steps"]] == ["node02"]


async def test_the_memory_of_what_runs(http: httpx.AsyncClient, infrastructure: Infrastructure, worker: Worker) -> None:
    await create(http, "demo", workers={"count": 1})

    async def memory() -> list[Any]:
        return [node["memory"] for node in (await http.get("/v1/clusters/demo/nodes")).json()["nodes"]]

    assert await memory() == [None, None]
    await worker.make()
    infrastructure.memory.silent = {"node02"}
    told = {"shared_bytes": 100 << 20, "private_bytes": 30 << 20, "proportional_bytes": 50 << 20}
    assert await memory() == [told, None]
    await http.post("/v1/clusters/demo/hibernate")
    await worker.tend()
    assert await memory() == [None, None]


async def test_the_console_of_a_node_that_was_removed_is_what_was_kept(
    http: httpx.AsyncClient, infrastructure: Infrastructure, worker: Worker
) -> None:
    await create(http, "demo")
    await worker.fail({"node01/console": "Kernel panic"})
    infrastructure.consoles.printed = b""
    assert (await http.get("/v1/clusters/demo/nodes/node01/console?tail_bytes=5")).text == "panic"


@pytest.mark.parametrize("error", [VmExited, ContainerExited, CommandFailed, EngineUnavailable])
async def test_a_machine_that_does_not_run_has_no_memory(
    http: httpx.AsyncClient, infrastructure: Infrastructure, worker: Worker, error: type[DayflyError]
) -> None:
    await create(http, "demo")
    await worker.make()
    infrastructure.memory.silent, infrastructure.memory.error = {"node01"}, error("away")
    assert (await http.get("/v1/clusters/demo/nodes")).json()["nodes"][0]["memory"] is None
    infrastructure.memory.error = Internal("a defect stays one")
    assert (await http.get("/v1/clusters/demo/nodes")).status_code == 500


async def test_a_machine_that_is_slow_to_tell_of_its_memory(
    http: httpx.AsyncClient, infrastructure: Infrastructure, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(http, "demo", workers={"count": 1})
    await worker.make()
    infrastructure.memory.slow = {"node01"}
    monkeypatch.setattr("dayfly.api.clusters.routes_nodes._MEMORY_SECONDS", 0.05)
    first, second = (await http.get("/v1/clusters/demo/nodes")).json()["nodes"]
    assert first["memory"] is None
    assert second["memory"]["private_bytes"] == 30 << 20


async def test_the_way_into_a_node(http: httpx.AsyncClient, store: Store, worker: Worker) -> None:
    identity = await create(http, "demo")
    assert (await http.get("/v1/clusters/demo/nodes/node01/ssh")).json()["code"] == "not_ready"
    await worker.make()
    answer = await http.get("/v1/clusters/demo/nodes/node01/ssh")
    assert answer.headers["cache-control"] == "no-store"
    access, secrets = answer.json(), await store.clusters.secrets(identity)
    assert secrets is not None
    assert access["private_key"] == secrets.user_key.private
    host_key = " ".join(secrets.host_key.public.split()[:2])
    assert access["known_hosts"] == f"[127.0.0.1]:{access['port']} {host_key}"
    for node in ("node02", "node1", "x", "a%00"):
        missing = await http.get(f"/v1/clusters/demo/nodes/{node}/ssh")
        assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


SSH = "/v1/clusters/demo/nodes/node01/ssh"


async def test_a_node_that_boots_has_a_way_in(http: httpx.AsyncClient, worker: Worker) -> None:
    await create(http, "demo")
    await worker.publish(await worker.claim())
    assert (await http.get(SSH)).status_code == 200


async def test_there_is_no_way_into_a_machine_that_does_not_run(
    http: httpx.AsyncClient, infrastructure: Infrastructure, worker: Worker
) -> None:
    """As of a failed cluster whose hold has its machines stopped, and of one that recovers."""
    await create(http, "demo")
    claim = await worker.claim()
    await worker.publish(claim)
    infrastructure.memory.down = {"node01"}
    problem = (await http.get(SSH)).json()
    assert problem["code"] == "not_ready"
    assert (
        problem["detail"] == "node01 of cluster demo has no SSH: its VM does not run, and the cluster is provisioning"
    )
    await worker.store.status.set_phase(claim, Phase.FAILED)
    assert (await http.get(SSH)).json()["detail"].endswith("its VM does not run, and the cluster is failed")
    infrastructure.memory.down = set()
    assert (await http.get(SSH)).status_code == 200, "a hold keeps its machines running"


@pytest.mark.parametrize("error", [EngineUnavailable, EngineRefused])
async def test_an_engine_that_does_not_answer_closes_no_way_in(
    http: httpx.AsyncClient, infrastructure: Infrastructure, worker: Worker, error: type[DayflyError]
) -> None:
    await create(http, "demo")
    await worker.make()
    infrastructure.memory.silent, infrastructure.memory.error = {"node01"}, error("away")
    assert (await http.get(SSH)).status_code == 200


@pytest.mark.parametrize(
    ("origin", "steps", "missing"),
    [
        (HIBERNATION, [], "its memory is not restored yet"),
        (HIBERNATION, ["restore"], None),
        (BootSource("checkpoint", "one"), ["boot"], "its memory is not restored yet"),
        (TEMPLATE, [], "its memory is not restored yet"),
        (TEMPLATE, ["restore"], "it has no keys of its own yet"),
        (TEMPLATE, ["restore", "personalize"], None),
        (None, [], None),
    ],
)
async def test_there_is_a_way_into_a_restored_machine_once_it_has_its_keys(
    http: httpx.AsyncClient, worker: Worker, origin: BootSource | None, steps: list[str], missing: str | None
) -> None:
    assert (await http.post("/v1/templates", json={"image": "bare", "workers": {"count": 1}})).status_code == 202
    await worker.tend()
    await create(http, "demo", workers={"count": 1})
    claim = await worker.claim()
    await worker.publish(claim)
    template_id = (await http.get("/v1/clusters/demo")).json()["template"]
    assert template_id is not None
    await worker.store.provisioning.begin(claim, origin, template_id=template_id)
    now = datetime.now(UTC)
    for step in steps:
        node = "node01" if step == "personalize" else None
        await worker.store.status.record(claim, [StepReport(step, node, StepState.DONE, 1, now, finished_at=now)])
    answer = await http.get(SSH)
    assert answer.status_code == (200 if missing is None else 409)
    if missing is not None:
        expected = f"node01 of cluster demo has no SSH: {missing}, and the cluster is provisioning"
        assert (answer.json()["code"], answer.json()["detail"]) == ("not_ready", expected)
    if steps == ["restore", "personalize"]:
        other = (await http.get(SSH.replace("node01", "node02"))).json()
        assert other["code"] == "not_ready", "each node is personalised by itself"


async def test_secrets_are_only_where_they_belong(http: httpx.AsyncClient, store: Store, worker: Worker) -> None:
    identity = await create(http, "demo", "k8s")
    await worker.make()
    secrets = await store.clusters.secrets(identity)
    assert secrets is not None
    for path in ("", "/nodes", "/ports", "/events", "/registry"):
        text = (await http.get(f"/v1/clusters/demo{path}")).text
        assert "PRIVATE KEY" not in text
        assert secrets.bootstrap_token not in text


async def test_a_console(http: httpx.AsyncClient) -> None:
    await create(http, "demo")
    answer = await http.get("/v1/clusters/demo/nodes/node01/console")
    assert answer.text == "booting\N{REPLACEMENT CHARACTER}\nlogin: "
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert (await http.get("/v1/clusters/demo/nodes/node01/console?tail_bytes=7")).text == "login: "
    assert (await http.get("/v1/clusters/demo/nodes/node01/console?tail_bytes=0")).text == ""
    followed = await http.get("/v1/clusters/demo/nodes/node01/console?follow=true&tail_bytes=7")
    assert followed.text == "login: café\n"


async def test_the_ports(http: httpx.AsyncClient, worker: Worker) -> None:
    await create(http, "demo")
    before = (await http.get("/v1/clusters/demo/ports")).json()["ports"]
    assert [(port["leads_to"], port["endpoint"]) for port in before] == [("registry", None), ("ssh/node01", None)]
    await worker.make()
    after = (await http.get("/v1/clusters/demo/ports")).json()["ports"]
    assert all(port["endpoint"]["host"] == "127.0.0.1" for port in after)


async def test_events_go_on_from_where_they_were(http: httpx.AsyncClient, worker: Worker) -> None:
    await create(http, "demo")
    await worker.make()
    everything = (await http.get("/v1/clusters/demo/events")).json()
    booted = next(event for event in everything["events"] if event["type"] == "step.done")
    assert (booted["step"], booted["node"], booted["seconds"]) == ("boot", "node01", 12.5)
    assert everything["phase"] == "ready"
    first = (await http.get("/v1/clusters/demo/events?limit=1")).json()
    rest = (await http.get(f"/v1/clusters/demo/events?after={first['next_after']}")).json()
    assert first["events"] + rest["events"] == everything["events"]
    nothing = (await http.get(f"/v1/clusters/demo/events?after={rest['next_after']}")).json()
    assert (nothing["events"], nothing["next_after"]) == ([], rest["next_after"])


async def test_a_deleted_cluster_is_seen_by_its_id_only(http: httpx.AsyncClient, worker: Worker) -> None:
    identity = await create(http, "demo")
    await http.delete("/v1/clusters/demo")
    await worker.remove()
    assert (await http.get("/v1/clusters/demo")).status_code == 404
    gone = (await http.get(f"/v1/clusters/{identity}")).json()
    assert (gone["phase"], gone["desired"]) == ("deleted", "absent")
    assert (await http.get(f"/v1/clusters/{identity}/kubeconfig")).json()["code"] == "no_kubernetes"
    assert (await http.get(f"/v1/clusters/{identity}/nodes/node01/ssh")).json()["code"] == "not_ready"
    assert await create(http, "demo") != identity


async def test_deleting_twice_does_no_harm(http: httpx.AsyncClient) -> None:
    await create(http, "demo")
    answers = [await http.delete("/v1/clusters/demo") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[1].json()["desired"] == "absent"
    assert (await http.delete("/v1/clusters/other")).json()["code"] == "not_found"


async def test_health_and_version(http: httpx.AsyncClient) -> None:
    assert (await http.get("/healthz")).json() == {"status": "ok"}
    assert (await http.get("/v1/version")).json()["api"] == ["v1"]
    assert (await http.get("/readyz")).json() == {"status": "ready", "checks": {"database": "ok", "engine": "ok"}}


async def test_what_is_missing_is_named(http: httpx.AsyncClient, infrastructure: Infrastructure) -> None:
    infrastructure.engine.error = EngineUnavailable("the engine does not answer")
    answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "unready")
    assert answer.headers["content-type"] == "application/problem+json"
    assert [(one["path"], one["detail"]) for one in answer.json()["errors"]] == [
        ("engine", "the engine does not answer")
    ]
    assert (await http.get("/healthz")).status_code == 200


async def test_a_check_with_a_defect_is_a_defect(store: Store, infrastructure: Infrastructure) -> None:
    async def broken() -> None:
        raise RuntimeError("never shown")

    async with ApiHttp(infrastructure.services(store, checks={"broken": broken})) as http:
        answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "never shown" not in answer.text


async def test_every_answer_has_a_request_id(http: httpx.AsyncClient) -> None:
    one, other = await http.get("/healthz"), await http.get("/healthz")
    assert one.headers["x-request-id"] != other.headers["x-request-id"]
    assert (await http.get("/nothing", headers={"X-Request-Id": "mine"})).headers["x-request-id"] == "mine"
