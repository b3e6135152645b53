"""KubeClient over real TLS: trust, watches, and errors of clusters that do not answer."""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest

from dayfly.domain.cluster.model import Endpoint
from dayfly.domain.security.kubeconfig import client_identity
from dayfly.domain.security.pki import issue_pki
from dayfly.drivers.interfaces import ConfigMap, KubeAccess, KubeNode, KubePod
from dayfly.drivers.kubernetes import http
from dayfly.drivers.kubernetes.client import KubeClient
from dayfly.errors import NodeNotReady, NotUsable
from tests.support.kube_server import KubeServer
from tests.support.specs import make_spec


def stamp(ago: timedelta) -> str:
    return (datetime.now(UTC) - ago).isoformat()


def lease(name: str, ago: timedelta) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"renewTime": stamp(ago)}}


def node(
    name: str, *, ready: bool, message: str = "", boot: str = "b1", since: timedelta = timedelta(hours=1)
) -> dict[str, Any]:
    condition = {
        "type": "Ready",
        "status": "True" if ready else "False",
        "reason": "KubeletReady" if ready else "KubeletNotReady",
        "message": message,
        "lastTransitionTime": stamp(since),
    }
    conditions = [{"type": "X", "status": "True"}, condition]
    return {"metadata": {"name": name}, "status": {"conditions": conditions, "nodeInfo": {"bootID": boot}}}


def pod(name: str, phase: str, **status: object) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default"}
    return {"metadata": metadata, "spec": {"nodeName": "node02"}, "status": {"phase": phase, **status}}


async def test_health(kube: KubeClient, server: KubeServer, access: KubeAccess) -> None:
    assert await kube.healthy(access, timeout=10)
    server.unavailable = True
    assert not await kube.healthy(access, timeout=10)


async def test_a_server_of_another_cluster_is_not_trusted(kube: KubeClient, access: KubeAccess) -> None:
    other = issue_pki(make_spec(kubernetes=True), datetime.now(UTC))

    assert not await kube.healthy(replace(access, ca=other["pki/ca.crt"]), timeout=10)
    with pytest.raises(NodeNotReady, match="certificate verify failed"):
        await kube.nodes(replace(access, ca=other["pki/ca.crt"]), timeout=10)


async def test_kubelets_are_asked_until_they_answer(kube: KubeClient, server: KubeServer, access: KubeAccess) -> None:
    server.kubelets = {"node01": "ok", "node02": "[-]syncloop failed"}
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(kube.wait_kubelets(access, ["node01", "node02"], timeout=20))
        await asyncio.wait_for(server.kubelet_asked.wait(), 10)
        assert not waiting.done()
        server.kubelets["node02"] = "ok"


async def test_kubelets_that_do_not_answer_are_named(kube: KubeClient, server: KubeServer, access: KubeAccess) -> None:
    server.kubelets = {"node01": "ok", "node02": "[-]syncloop failed"}
    with pytest.raises(NodeNotReady, match="kubelets of node02, node03 do not answer") as caught:
        await kube.wait_kubelets(access, ["node01", "node02", "node03"], timeout=1.5)
    assert caught.value.evidence == {"node02": "[-]syncloop failed", "node03": "no such node"}


async def test_paths_are_asked_until_they_succeed(kube: KubeClient, server: KubeServer, access: KubeAccess) -> None:
    await kube.wait_paths(access, (), timeout=10)
    paths = [f"/api/v1/namespaces/kube-system/services/{name}/proxy/ready" for name in ("kube-dns:status", "other")]
    server.services = {"other": "ok"}
    with pytest.raises(NotUsable, match=r"kube-dns:status/proxy/ready not ready within 1\.5 s") as caught:
        await kube.wait_paths(access, paths, timeout=1.5)
    assert caught.value.evidence == {paths[0]: "no endpoints available for service"}
    server.service_asked.clear()
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(kube.wait_paths(access, paths, timeout=20))
        await asyncio.wait_for(server.service_asked.wait(), 10)
        assert not waiting.done()
        server.services["kube-dns:status"] = "ok"


async def test_an_answer_without_end_is_given_up(
    kube: KubeClient, server: KubeServer, access: KubeAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dayfly.drivers.kubernetes.http.ANSWER_BYTES", 10_000)
    server.put("nodes", node("node01", ready=True, message="x" * 20_000))
    with pytest.raises(NodeNotReady, match="longer than 10000 bytes"):
        await kube.nodes(access, timeout=10)
    monkeypatch.setattr("dayfly.drivers.kubernetes.http.ANSWER_BYTES", 1)
    assert not await kube.healthy(access, timeout=10)


@pytest.mark.parametrize(
    "item",
    [
        {"metadata": {"name": "node01"}, "status": []},
        {"metadata": {"name": "node01"}, "status": {"conditions": [{}]}},
        {"metadata": {"name": 7}},
        {"metadata": None},
    ],
)
async def test_a_node_of_another_form_is_not_a_defect(
    kube: KubeClient, server: KubeServer, access: KubeAccess, item: dict[str, Any]
) -> None:
    server.objects["nodes"]["node01"] = item
    with pytest.raises(NodeNotReady):
        await kube.nodes(access, timeout=10)
    with pytest.raises(NodeNotReady):
        await kube.wait_nodes_ready(access, {"node01": "b1"}, timeout=1)


async def test_the_certificate_must_carry_the_name(kube: KubeClient, access: KubeAccess) -> None:
    with pytest.raises(NodeNotReady, match=r"[Hh]ostname mismatch"):
        await kube.nodes(replace(access, server_name="another.name"), timeout=10)


async def test_a_client_of_another_cluster_is_not_let_in(kube: KubeClient, access: KubeAccess) -> None:
    other = client_identity(issue_pki(make_spec(kubernetes=True), datetime.now(UTC)), "dayfly")

    assert not await kube.healthy(replace(access, certificate=other.certificate, key=other.key), timeout=10)


async def test_a_key_leaves_no_file_behind(
    kube: KubeClient, access: KubeAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    load = ssl.SSLContext.load_cert_chain

    def spy(context: ssl.SSLContext, certfile: str, *more: Any) -> None:
        seen.append(str(Path(certfile).readlink()))
        load(context, certfile, *more)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", spy)
    await kube.healthy(access, timeout=10)

    assert seen
    assert all(path.startswith("/memfd:") for path in seen)
    assert access.key not in repr(access)


async def test_nobody_there(kube: KubeClient, access: KubeAccess) -> None:
    nowhere = replace(access, endpoint=Endpoint("127.0.0.1", 1))

    assert not await kube.healthy(nowhere, timeout=5)
    with pytest.raises(NodeNotReady):
        await kube.nodes(nowhere, timeout=5)
    with pytest.raises(NodeNotReady):
        await kube.pods(nowhere, timeout=5)
    with pytest.raises(NodeNotReady) as late:
        await kube.wait_nodes_ready(nowhere, {"node01": "b1"}, timeout=0.3)
    assert late.value.evidence == {"node01": "not registered"}
    with pytest.raises(NotUsable):
        await kube.wait_service_account(nowhere, timeout=0.3)
    with pytest.raises(NotUsable) as unused:
        await kube.run_pod(nowhere, "smoke", image="i", argv=["true"], timeout=0.3)
    assert unused.value.evidence["pod"]


async def test_one_look(kube: KubeClient, server: KubeServer, access: KubeAccess) -> None:
    server.put("nodes", node("node01", ready=True, since=timedelta(seconds=100)))
    server.put("leases", lease("node01", timedelta(seconds=30)))
    server.put("nodes", {"metadata": {"name": "node02"}})
    waiting = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    server.put("pods", pod("web", "Pending", containerStatuses=[waiting]))

    assert await kube.nodes(access, timeout=10) == (
        KubeNode("node01", True, "KubeletReady", "b1", ANY, ANY),
        KubeNode("node02", False, "no status yet"),
    )
    assert await kube.pods(access, timeout=10) == (
        KubePod("web", "default", "Pending", "node02", "ImagePullBackOff: no such image"),
    )
    one, _ = await kube.nodes(access, timeout=10)
    assert one.renewal_age is not None
    # Never more steady, and never newer, than it is.
    assert 95 < one.condition_age <= 100
    assert 30 <= one.renewal_age < 35
    assert not one.renewed_within(30)
    assert one.renewed_within(40)


async def test_leases_are_watched_until_all_are_renewed_since_the_start(
    kube: KubeClient, server: KubeServer, access: KubeAccess
) -> None:
    server.put("leases", lease("node01", timedelta(0)))
    server.put("leases", lease("node02", timedelta(minutes=10)))
    waiting = asyncio.create_task(kube.wait_renewed(access, {"node01": 30.0, "node02": 30.0}, timeout=20))
    await server.watching.wait()
    server.put("leases", lease("node02", timedelta(seconds=31)))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    server.put("leases", lease("node02", timedelta(0)))
    await waiting
    assert server.watches_opened == 1


async def test_a_lease_that_is_deleted_is_no_report(kube: KubeClient, server: KubeServer, access: KubeAccess) -> None:
    waiting = asyncio.create_task(kube.wait_renewed(access, {"node01": 30.0}, timeout=1))
    await server.watching.wait()
    server.objects["leases"]["node01"] = lease("node01", timedelta(0))
    server.drop("leases", "node01")
    with pytest.raises(NodeNotReady, match="it has no lease"):
        await waiting


async def test_a_watch_remembers_a_bounded_number_of_objects(
    kube: KubeClient, server: KubeServer, access: KubeAccess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MAX_OBJECTS", 3)
    waiting = asyncio.create_task(kube.wait_nodes_ready(access, {"node01": "b1"}, timeout=20))
    await server.watching.wait()
    server.watching.clear()
    for number in range(2, 6):
        server.put("nodes", node(f"node{number:02}", ready=True))
    # The watch restarts with a list, which is bounded by its bytes.
    await server.watching.wait()
    assert not waiting.done()
    server.put("nodes", node("node01", ready=True))
    await waiting


async def test_nodes_that_have_not_reported_since_the_start_are_told(
    kube: KubeClient, server: KubeServer, access: KubeAccess
) -> None:
    server.put("leases", lease("node01", timedelta(0)))
    server.put("leases", lease("node02", timedelta(seconds=600)))
    # A saved clock was ahead.
    server.put("leases", lease("node03", timedelta(seconds=-600)))
    started = dict.fromkeys(["node01", "node02", "node03", "node04"], 30.0)
    with pytest.raises(NodeNotReady) as late:
        await kube.wait_renewed(access, started, timeout=0.5)
    assert "node01" not in late.value.message
    assert re.search(r"node02 started 30 s before, it last reported 60\d s before", late.value.message)
    assert "node04 started 30 s before, it has no lease" in late.value.message
    assert set(late.value.evidence) == {"node02", "node03", "node04"}


async def test_a_token_and_a_pod_are_tried(kube: KubeClient, server: KubeServer, access: KubeAccess) -> None:
    # A quota of the cluster's user is an answer; a control plane that starts is none.
    server.refusals = [(403, "no API token found for service account default")]
    await kube.wait_usable(access, "registry/smoke:1", timeout=20)
    assert server.objects["pods"] == {}
    (tried,) = server.tried
    assert tried["spec"]["automountServiceAccountToken"] is True

    server.refusals = [(403, 'pods "dayfly-probe" is forbidden: exceeded quota')]
    await kube.wait_usable(access, "registry/smoke:1", timeout=20)
    assert len(server.tried) == 1


async def test_what_refuses_a_token_or_a_pod_is_told(kube: KubeClient, server: KubeServer, access: KubeAccess) -> None:
    async def problem() -> str:
        with pytest.raises(NotUsable) as late:
            await kube.wait_usable(access, "registry/smoke:1", timeout=0.5)
        return late.value.message

    server.accepts_tokens = False
    assert "a service account's token is refused" in await problem()
    server.accepts_tokens = True
    server.token_status = 500
    assert "gets no token" in await problem()
    server.token_status = 201
    server.refusals = [(403, "error looking up service account default/default")] * 5
    assert "a pod is refused: " in await problem()
    server.unavailable = True
    assert "a pod is refused: " in await problem()


async def test_nodes_are_watched_until_all_are_ready_at_once(
    kube: KubeClient, server: KubeServer, access: KubeAccess
) -> None:
    changes: list[KubeNode] = []
    server.put("nodes", node("node01", ready=True))
    waiting = asyncio.create_task(
        kube.wait_nodes_ready(access, {"node01": "b1", "node02": "b1"}, timeout=20, on_change=changes.append)
    )
    await server.watching.wait()
    server.put("nodes", node("node02", ready=False, message="no CNI"))
    server.put("nodes", node("node02", ready=False, message="no CNI"))
    # Both have been Ready, but never at the same time.
    server.put("nodes", node("node01", ready=False))
    server.put("nodes", node("node02", ready=True))
    await asyncio.sleep(0.2)
    assert not waiting.done()

    server.put("nodes", node("node01", ready=True))
    await waiting

    assert [(change.name, change.ready) for change in changes] == [
        ("node01", True),
        ("node02", False),
        ("node01", False),
        ("node02", True),
        ("node01", True),
    ]
    assert server.watches_opened == 1


async def test_nodes_that_stay_behind_are_told_with_their_reason(
    kube: KubeClient, server: KubeServer, access: KubeAccess
) -> None:
    server.put("nodes", node("node01", ready=True))
    server.put("nodes", node("node02", ready=False, message="no CNI"))

    with pytest.raises(NodeNotReady, match="node02, node03") as late:
        await kube.wait_nodes_ready(access, dict.fromkeys(["node01", "node02", "node03"], "b1"), timeout=0.5)

    assert late.value.evidence == {
        "node01": "KubeletReady",
        "node02": "KubeletNotReady: no CNI",
        "node03": "not registered",
    }


async def test_ready_counts_in_the_boot_that_is_waited_for(
    kube: KubeClient, server: KubeServer, access: KubeAccess
) -> None:
    server.put("nodes", node("node01", ready=True, boot="before"))
    with pytest.raises(NodeNotReady) as late:
        await kube.wait_nodes_ready(access, {"node01": "b1"}, timeout=2)
    assert late.value.evidence == {"node01": "no report since its boot; before: KubeletReady"}

    server.watching.clear()
    waiting = asyncio.create_task(kube.wait_nodes_ready(access, {"node01": "b1"}, timeout=20))
    await server.watching.wait()
    server.put("nodes", node("node01", ready=False, message="starting"))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    server.put("nodes", node("node01", ready=True))
    await waiting


async def test_a_watch_that_breaks_begins_anew_and_misses_nothing(
    kube: KubeClient, server: KubeServer, access: KubeAccess
) -> None:
    server.expired_watches = 2
    waiting = asyncio.create_task(kube.wait_nodes_ready(access, {"node01": "b1"}, timeout=20))
    await server.watching.wait()
    server.unavailable = True
    server.cut_watches()
    server.objects["nodes"]["node01"] = node("node01", ready=True)
    await asyncio.sleep(0.2)
    assert not waiting.done()

    server.unavailable = False
    await waiting

    assert server.watches_opened >= 3


async def test_the_default_service_account(kube: KubeClient, server: KubeServer, access: KubeAccess) -> None:
    server.put("serviceaccounts", {"metadata": {"name": "other"}})
    with pytest.raises(NotUsable, match="controller manager"):
        await kube.wait_service_account(access, timeout=0.3)

    server.watching.clear()
    waiting = asyncio.create_task(kube.wait_service_account(access, timeout=20))
    await server.watching.wait()
    server.put("serviceaccounts", {"metadata": {"name": "default"}})
    await waiting


async def test_a_config_map_is_applied_until_it_is_accepted(
    kube: KubeClient, server: KubeServer, access: KubeAccess
) -> None:
    wanted = ConfigMap("kube-public", "hosting", {"v1": 'host: "127.0.0.1:1"\n'})
    with pytest.raises(NotUsable, match="hosting is not as wanted"):
        await kube.check_config_map(access, wanted, timeout=10)

    server.refusals = [(404, "namespaces kube-public not found")]
    await kube.put_config_map(access, wanted, timeout=20)
    await kube.check_config_map(access, wanted, timeout=10)
    assert not server.refusals
    applied = server.config_maps["kube-public/hosting"]
    assert (applied["kind"], applied["apiVersion"], applied["data"]) == ("ConfigMap", "v1", dict(wanted.data))

    other = replace(wanted, data={"v1": 'host: "127.0.0.1:2"\n'})
    with pytest.raises(NotUsable):
        await kube.check_config_map(access, other, timeout=10)
    server.refusals = [(403, "not by you")] * 3
    with pytest.raises(NotUsable, match=r"hosting was not accepted within 0[.]5 s: .*not by you"):
        await kube.put_config_map(access, other, timeout=0.5)
