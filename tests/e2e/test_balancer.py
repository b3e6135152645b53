"""Services of type LoadBalancer have addresses that answer to the host, nodes and pods.

Not here: which address and which node (kubernetes/programs/balancer).
"""

from __future__ import annotations

import json
from functools import partial
from ipaddress import ip_address

import pytest

from dayfly.domain.cluster.network import LOAD_BALANCERS
from tests.e2e.lab import BALANCED, CLUSTER_IP, NODES, Lab, fetched
from tests.support.guest import until

pytestmark = pytest.mark.kubernetes

PATIENCE_SECONDS = 240
_ASKED = f"""\
apiVersion: v1
kind: Service
metadata: {{name: asked}}
spec:
  type: LoadBalancer
  loadBalancerIP: {BALANCED.address}
  clusterIP: {CLUSTER_IP.address}
  selector: {{app: web}}
  ports: [{{port: 80, targetPort: 8080}}]
"""
_CHOSEN = """\
apiVersion: v1
kind: Service
metadata: {name: chosen}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
"""


def test_an_asked_address_answers_at_its_published_port(lab: Lab, web: dict[str, str]) -> None:
    lab.kubectl_with(_ASKED, "apply", "-f", "-")
    try:
        for port in (BALANCED, CLUSTER_IP):
            look = partial(fetched, published(lab, port.name))
            text = until(f"{port.name} answers", look, seconds=PATIENCE_SECONDS)
            assert text in {f"served on {node}" for node in web}
        # kube-proxy then forwards to pods of its node only.
        lab.kubectl("patch", "service", "asked", "-p", '{"spec": {"externalTrafficPolicy": "Local"}}')
        until("only the owner's pod answers", lambda: answers_from_owner(lab), seconds=PATIENCE_SECONDS)
    finally:
        lab.kubectl("delete", "service", "asked")


def test_a_chosen_address_answers_until_its_service_is_gone(lab: Lab, web: dict[str, str]) -> None:
    served = {f"served on {node}" for node in web}
    lab.kubectl_with(_CHOSEN, "apply", "-f", "-")
    try:
        address = until("an address is chosen", lambda: address_of(lab, "chosen"), seconds=PATIENCE_SECONDS)
        assert ip_address(address) in LOAD_BALANCERS
        until("one node owns it", lambda: len(owners(lab, address)) == 1 or None, seconds=PATIENCE_SECONDS)
        for node in NODES:
            look = partial(fetched_on, lab, node, address)
            assert until(f"the address answers {node}", look, seconds=PATIENCE_SECONDS) in served
        assert lab.fetch(NODES[1], f"{address}:80") in served
    finally:
        lab.kubectl("delete", "service", "chosen")
    until("no node owns it", lambda: not owners(lab, address) or None, seconds=PATIENCE_SECONDS)


def published(lab: Lab, name: str) -> str:
    return f"http://{lab.client.get(lab.cluster.id).endpoints[f'ports/{name}']}/index.html"


def address_of(lab: Lab, service: str) -> str | None:
    status = json.loads(lab.kubectl("get", "service", service, "-o", "json"))["status"]
    ingress = status["loadBalancer"].get("ingress", [])
    return ingress[0]["ip"] if ingress else None


def fetched_on(lab: Lab, node: str, address: str) -> str | None:
    """None while nothing answers: the node's rules follow the Service."""
    return lab.on_node(node, f"curl -s --max-time 30 http://{address}/index.html || true").strip() or None


def owners(lab: Lab, address: str) -> list[str]:
    """The nodes that have the address."""
    return [node for node in NODES if f"{address}/32" in lab.on_node(node, "ip -o address show dev lo")]


def answers_from_owner(lab: Lab) -> bool | None:
    assert BALANCED.address is not None
    found = owners(lab, BALANCED.address)
    answers = {fetched(published(lab, BALANCED.name)) for _ in range(4)}
    return True if answers == {f"served on {node}" for node in found} else None
