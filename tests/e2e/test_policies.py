"""NetworkPolicies of a cluster are enforced. Not here: the fields' meaning (kubernetes/programs/policies).

Each refusal takes an emulated client's whole timeout: the tests of namespaces and blocks, which the program's own tests
cover, run with `--long` only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.e2e.lab import MANIFESTS, NODES, Lab
from tests.e2e.lookups import ZONE, read_answers, script_of
from tests.support.guest import until

pytestmark = pytest.mark.kubernetes

GUARDED: Final = ("-n", "guarded")
ENFORCED_SECONDS: Final = 120
"""The most that the rules of an emulated node are behind the API server's objects."""
ANSWER_SECONDS: Final = 15
"""After so long without an answer, a client gives up."""


@dataclass(frozen=True)
class Guarded:
    """The pods of guarded.yaml, and those of `web`, which are in another namespace."""

    lab: Lab
    address: str

    def reaches(self, client: str) -> bool:
        """Whether `client`, a node for its pod of `web` or `friend`, is answered by the server."""
        host, port = self.address.split(":")
        request = "printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n'"
        command = f"{request} | /bin/busybox nc -w {ANSWER_SECONDS} {host} {port} || true"
        return "reached" in self.run(client, command)

    def run(self, client: str, command: str) -> str:
        if client in NODES:
            return self.lab.in_pod_on(client, command)
        return self.lab.kubectl(*GUARDED, "exec", client, "--", "/bin/sh", "-c", command, timeout=180)

    def assert_reached_by(self, *clients: str) -> None:
        self._await(clients, "reaches the server", reached=True)

    def assert_refuses(self, *clients: str) -> None:
        self._await(clients, "is refused", reached=False)

    def _await(self, clients: tuple[str, ...], what: str, *, reached: bool) -> None:
        """Wait until each of them has that result. All run at once, because a refusal is only a timeout."""

        def look(client: str) -> None:
            until(f"{client} {what}", lambda: self.reaches(client) is reached or None, seconds=ENFORCED_SECONDS)

        with ThreadPoolExecutor(len(clients)) as pool:
            list(pool.map(look, clients))

    def policy(self, name: str, app: str, **spec: Any) -> None:
        """Create a policy, or change it, for the pods whose label is `app`."""
        policy = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": name, "namespace": "guarded"},
            "spec": {"podSelector": {"matchLabels": {"app": app}}, **spec},
        }
        self.lab.kubectl_with(json.dumps(policy), "apply", "-f", "-")

    def remove_policies(self, *names: str) -> None:
        self.lab.kubectl(*GUARDED, "delete", "networkpolicies", *(names or ("--all",)))


@pytest.fixture
def guarded(lab: Lab, web: dict[str, str]) -> Iterator[Guarded]:
    """The objects of guarded.yaml; its policy, recreated after each test, is the only one."""
    assert set(web) == set(NODES)
    lab.kubectl("apply", "-f", str(MANIFESTS / "guarded.yaml"))
    ready = ("--for=condition=Ready", "pod/server", "pod/friend", "--timeout=300s")
    lab.kubectl(*GUARDED, "wait", *ready, timeout=320)
    address = lab.kubectl(*GUARDED, "get", "pod", "server", "-o", "jsonpath={.status.podIP}")
    guarded = Guarded(lab, f"{address}:8080")
    try:
        yield guarded
    finally:
        guarded.remove_policies()


def test_nobody_but_its_node_reaches_a_pod_that_lets_nobody_in(guarded: Guarded) -> None:
    guarded.assert_refuses(*NODES, "friend")
    assert "reached" in guarded.lab.on_node(NODES[0], f"curl -s --max-time 60 http://{guarded.address}/index.html")
    guarded.remove_policies()
    guarded.assert_reached_by(*NODES, "friend")


def test_a_policy_lets_pods_in_by_label_to_a_port_by_its_name(guarded: Guarded) -> None:
    friends = {"podSelector": {"matchLabels": {"app": "friend"}}}
    guarded.policy("friends", "server", ingress=[{"from": [friends], "ports": [{"port": "http"}]}])
    guarded.assert_reached_by("friend")
    guarded.assert_refuses(*NODES)
    guarded.policy("friends", "server", ingress=[{"from": [friends], "ports": [{"port": 8081}]}])
    guarded.assert_refuses("friend")


@pytest.mark.long
def test_a_policy_lets_namespaces_in(guarded: Guarded) -> None:
    guests = {"namespaceSelector": {"matchLabels": {"guest": "yes"}}}
    guarded.policy("guests", "server", ingress=[{"from": [guests]}])
    guarded.lab.kubectl("label", "namespace", "default", "guest=yes")
    try:
        guarded.assert_reached_by(*NODES)
        guarded.assert_refuses("friend")
    finally:
        guarded.lab.kubectl("label", "namespace", "default", "guest-")
    guarded.assert_refuses(*NODES)


@pytest.mark.long
def test_a_policy_lets_a_block_in_but_for_its_exceptions(guarded: Guarded) -> None:
    block = {"ipBlock": {"cidr": "10.244.0.0/16", "except": ["10.244.1.0/24"]}}
    guarded.policy("block", "server", ingress=[{"from": [block]}])
    guarded.assert_reached_by(NODES[1], "friend")
    guarded.assert_refuses(NODES[0])


def test_a_policy_of_egress_lets_a_pod_ask_for_names_only(guarded: Guarded) -> None:
    guarded.policy("anybody", "server", ingress=[{}])
    guarded.assert_reached_by("friend")
    names = [{"port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
    guarded.policy("names", "friend", policyTypes=["Egress"], egress=[{"ports": names}])
    guarded.assert_refuses("friend")
    guarded.assert_reached_by(*NODES)
    (answer,) = read_answers(guarded.run("friend", script_of([("a", f"kubernetes.default.{ZONE}")])))
    assert answer == {"10.96.0.1"}
    guarded.remove_policies("names")
    guarded.assert_reached_by("friend")
