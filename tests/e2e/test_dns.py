"""Names in a cluster, by the Kubernetes DNS specification. Not here: the server's own tests (programs/dns)."""

from __future__ import annotations

import json
import time

import pytest

from tests.e2e.lab import NODES, Lab
from tests.e2e.lookups import (
    FOLLOWED_SECONDS,
    HERE,
    NODATA,
    NXDOMAIN,
    ZONE,
    assert_followed,
    cluster_ip,
    look_up,
    resolve,
)
from tests.support.guest import until

pytestmark = pytest.mark.kubernetes


@pytest.fixture
def names(lab: Lab, web: dict[str, str]) -> dict[str, str]:
    """The objects of names.yaml: node → address of its pod of `web`."""
    lab.kubectl("rollout", "status", "statefulset/db", "--timeout=400s", timeout=420)
    return web


def test_names_of_services_and_pods(lab: Lab, names: dict[str, str]) -> None:
    address = {name: cluster_ip(lab, name) for name in ("web", "named")}
    stateful = lab.kubectl("get", "pod", "db-0", "-o", "jsonpath={.status.podIP}")
    pods = set(names.values())
    table: dict[tuple[str, str], set[str]] = {
        ("txt", "dns-version.cluster.local"): {"1.1.0"},
        ("a", f"kubernetes.{HERE}"): {"10.96.0.1"},
        ("a", f"kube-dns.kube-system.{ZONE}"): {"10.96.0.10"},
        ("a", f"web.{HERE}"): {address["web"]},
        ("a", f"WEB.{HERE}"): {address["web"]},
        ("aaaa", f"web.{HERE}"): {NODATA},
        ("a", f"nothing.{HERE}"): {NXDOMAIN},
        ("a", f"web.nowhere.{ZONE}"): {NXDOMAIN},
        ("a", HERE): {NODATA},
        ("a", f"nowhere.{ZONE}"): {NXDOMAIN},
        ("srv", f"_http._tcp.named.{HERE}"): {f"0 100 80 named.{HERE}"},
        ("srv", f"_https._tcp.named.{HERE}"): {NXDOMAIN},
        ("ptr", reverse(address["web"])): {f"web.{HERE}"},
        ("a", f"peers.{HERE}"): pods,
        ("srv", f"_http._tcp.peers.{HERE}"): {f"0 100 8080 {dashed(pod)}.peers.{HERE}" for pod in pods},
        ("a", f"db.{HERE}"): {stateful},
        ("a", f"db-0.db.{HERE}"): {stateful},
        ("a", f"db-1.db.{HERE}"): {NXDOMAIN},
        ("ptr", reverse(stateful)): {f"db-0.db.{HERE}"},
        ("a", f"cautious.{HERE}"): {"10.9.0.1"},
        ("a", f"two.cautious.{HERE}"): {NXDOMAIN},
        ("a", f"eager.{HERE}"): {"10.9.1.1", "10.9.1.2"},
        ("a", f"two.eager.{HERE}"): {"10.9.1.2"},
        ("a", f"empty.{HERE}"): {NODATA},
        ("cname", f"elsewhere.{HERE}"): {"CNAME registry"},
        ("a", f"elsewhere.{HERE}"): {"CNAME registry", "192.168.66.2"},
        ("a", f"{dashed(stateful)}.default.pod.cluster.local"): {stateful},
        ("a", f"{dashed(stateful)}.nowhere.pod.cluster.local"): {NXDOMAIN},
        ("a", "registry."): {"192.168.66.2"},
        ("aaaa", "registry."): {NODATA},
        ("a", "node02."): {"192.168.66.102"},
        ("ptr", "102.66.168.192.in-addr.arpa"): {"node02"},
        ("ptr", "9.9.244.10.in-addr.arpa"): {NXDOMAIN},
    }
    for node in NODES:
        began = time.monotonic()
        answers = dict(zip(table, look_up(lab, node, table), strict=True))
        print(f"{len(table)} lookups from a pod on {node}: {time.monotonic() - began:.0f} s")
        assert {question: found for question, found in answers.items() if found != table[question]} == {}, node


@pytest.mark.usefixtures("names")
@pytest.mark.parametrize("ndots", [1, 5, 15])
def test_pods_resolve_with_any_ndots(lab: Lab, ndots: int) -> None:
    expected = {
        "registry": {"192.168.66.2"},
        "node01": {"192.168.66.101"},
        "web": {cluster_ip(lab, "web")},
        f"web.{HERE}": {cluster_ip(lab, "web")},
        f"db-0.db.{HERE}": {lab.kubectl("get", "pod", "db-0", "-o", "jsonpath={.status.podIP}")},
        f"nothing.{HERE}": set(),
    }
    if ndots > 1:
        expected["kubernetes.default"] = {"10.96.0.1"}
    assert resolve(lab, NODES[1], list(expected), ndots=ndots) == expected


@pytest.mark.usefixtures("web")
def test_an_answer_that_is_too_long_for_udp_comes_over_tcp(lab: Lab) -> None:
    addresses = [{"ip": f"10.9.2.{number}"} for number in range(1, 101)]
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "many"}, "spec": {"clusterIP": "None"}}
    endpoints = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "many"}}
    items = [service, endpoints | {"subsets": [{"addresses": addresses}]}]
    lab.kubectl_with(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}), "apply", "-f", "-")
    name = f"many.{HERE}"
    expected = {one["ip"] for one in addresses}

    def found() -> set[str] | None:
        return resolve(lab, NODES[0], [name], ndots=5)[name] or None

    assert until("there is a record of the new Service", found, seconds=FOLLOWED_SECONDS) == expected
    lab.kubectl("delete", "service", "many")


@pytest.mark.usefixtures("web")
def test_changes_of_services_are_followed(lab: Lab) -> None:
    assert_followed(lab)


def test_the_server_is_small(lab: Lab) -> None:
    pod = lab.kubectl(
        "-n", "kube-system", "get", "pod", "-l", "k8s-app=kube-dns", "-o", "jsonpath={.items[0].spec.nodeName}"
    )
    status = lab.on_node(pod, "cat /proc/$(pgrep -x dayfly-dns)/status")
    (resident,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    print(f"the DNS server takes {resident >> 10} MiB")
    assert resident < 30 << 10


def dashed(address: str) -> str:
    return address.replace(".", "-")


def reverse(address: str) -> str:
    return ".".join(reversed(address.split("."))) + ".in-addr.arpa"
