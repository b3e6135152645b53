"""The add-on ingress: requests to a port that the host publishes reach Services by host and path, over TLS as well.

A request installs the add-on in a cluster that runs, and another removes it. Not here: the rules of hosts and paths
(kubernetes/programs/ingress).
"""

from __future__ import annotations

import json
import ssl
import time
from base64 import b64encode
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from dayfly.client import PortRequest
from tests.e2e.lab import INGRESS, INGRESS_TLS, MANIFESTS, Lab
from tests.support.certificates import Signed, signed_for
from tests.support.guest import until

pytestmark = pytest.mark.kubernetes

ADDON: Final = "ingress"
INSTALL_SECONDS: Final = 300
PATIENCE_SECONDS: Final = 240
_OBJECTS: Final = "serviceaccounts,services,deployments,replicasets,pods,endpoints,endpointslices"
_CLUSTER_OBJECTS: Final = "clusterroles,clusterrolebindings,ingressclasses"


@pytest.fixture(scope="module", autouse=True)
def addon(shared_lab: Lab) -> Iterator[None]:
    """The cluster has the add-on; afterwards nothing is left of it, not even an address in an Ingress that stays."""
    lab = shared_lab
    assert traces(lab) == []
    change(lab, [ADDON], "ready")
    assert traces(lab) != []
    yield
    apply(lab, ingress("stays", rule("stays.example", path("/", "closed", 80))))
    try:
        until("an Ingress has the address", lambda: addresses(lab, "stays") or None, seconds=PATIENCE_SECONDS)
        change(lab, [], None)
        assert traces(lab) == []
        assert addresses(lab, "stays") == []
    finally:
        lab.kubectl("delete", "ingress", "stays")
        lab.kubectl("delete", "pods,services", "-l", "app=shop", "--now")


@pytest.fixture
def shops(lab: Lab, web: dict[str, str]) -> None:
    """The objects of shops.yaml; `web` has pushed their image."""
    lab.kubectl("apply", "-f", str(MANIFESTS / "shops.yaml"))
    lab.kubectl("wait", "pod", "-l", "app=shop", "--for=condition=Ready", "--timeout=200s", timeout=220)


def test_hosts_and_paths_lead_to_services(lab: Lab, shops: None) -> None:
    by_path = rule("shops.example", path("/", "books", 80), path("/a", "wines", "web"), path("/closed", "closed", 80))
    apply(lab, ingress("shops", by_path, rule("*.wines.example", path("/", "wines", 8000))))
    try:
        await_answer(lab, "shops.example", "/index.html", (200, "books"))
        assert asked(lab, "shops.example", "/a/index.html") == (200, "wines a")
        assert asked(lab, "red.wines.example", "/a/index.html") == (200, "wines a")
        statuses = {
            ("shops.example", "/closed"): 503,
            ("other.example", "/index.html"): 404,
            ("old.red.wines.example", "/index.html"): 404,
        }
        for (host, where), status in statuses.items():
            assert asked(lab, host, where)[0] == status, (host, where)
        assert addresses(lab, "shops") == [INGRESS.address]
        # An update takes effect, and so does the end of the Ingress.
        apply(lab, ingress("shops", rule("shops.example", path("/", "wines", "web"))))
        await_answer(lab, "shops.example", "/index.html", (200, "wines"))
    finally:
        lab.kubectl("delete", "ingress", "shops")
    until(
        "nothing answers",
        lambda: True if asked(lab, "shops.example", "/index.html")[0] == 404 else None,
        seconds=PATIENCE_SECONDS,
    )


def test_the_name_of_the_handshake_chooses_the_certificate(lab: Lab, shops: None) -> None:
    books, wines = signed_for("books.example"), signed_for("wines.example")
    items = [
        secret("books-tls", books),
        secret("wines-tls", wines),
        ingress("books", rule("books.example", path("/", "books", 80)), tls={"books-tls": ["books.example"]}),
        ingress("wines", rule("wines.example", path("/", "wines", "web")), tls={"wines-tls": ["wines.example"]}),
    ]
    apply(lab, *items)
    try:
        await_answer(lab, "books.example", "/index.html", (200, "books"), books)
        await_answer(lab, "wines.example", "/index.html", (200, "wines"), wines)
        with pytest.raises(httpx.ConnectError, match=r"(?i)certificate"):
            asked(lab, "books.example", "/index.html", wines)
        with pytest.raises(httpx.ConnectError, match=r"(?i)unrecognized.name"):
            asked(lab, "other.example", "/index.html", books)
    finally:
        lab.kubectl("delete", "ingress/books", "ingress/wines", "secret/books-tls", "secret/wines-tls")


def test_an_ingress_that_cannot_be_served_is_reported_and_stops_no_other(lab: Lab, shops: None) -> None:
    apply(
        lab,
        ingress("bad", rule("bad.example", path('/a"; return 200 "x', "books", 80))),
        ingress("good", rule("good.example", path("/", "books", 80))),
    )
    try:
        await_answer(lab, "good.example", "/index.html", (200, "books"))
        message = until("the bad one is reported", lambda: warning(lab, "bad"), seconds=PATIENCE_SECONDS)
        assert "does not begin with /, or has a character that URLs do not allow" in message
        assert asked(lab, "bad.example", "/a")[0] == 404
    finally:
        lab.kubectl("delete", "ingress/bad", "ingress/good")


def change(lab: Lab, addons: list[str], state: str | None) -> None:
    """Request the whole list of add-ons; returns when `ingress` is in `state` (None: no longer listed)."""
    began = time.monotonic()
    lab.client.change(lab.cluster.id, addons=addons)

    def look() -> bool | None:
        found = {one.name: one for one in lab.client.get(lab.cluster.id).addons}
        assert all(one.error is None for one in found.values()), found
        return True if (found[ADDON].state if ADDON in found else None) == state else None

    until(f"{ADDON} is {state}", look, seconds=INSTALL_SECONDS, pause=1)
    print(f"add-ons {addons} after {time.monotonic() - began:.0f} s")
    assert lab.client.get(lab.cluster.id).phase == "ready"


def traces(lab: Lab) -> list[str]:
    """All objects that the add-on or its program made, by name."""
    found = lab.kubectl("get", _OBJECTS, "-n", "kube-system", "-o", "name")
    found += lab.kubectl("get", _CLUSTER_OBJECTS, "-o", "name")
    return [name for name in found.split() if "ingress" in name]


def apply(lab: Lab, *items: dict[str, Any]) -> None:
    whole = {"apiVersion": "v1", "kind": "List", "items": items}
    lab.kubectl_with(json.dumps(whole), "apply", "-f", "-")


def ingress(name: str, *rules: dict[str, Any], tls: dict[str, list[str]] | None = None) -> dict[str, Any]:
    """An Ingress without a class: the default one is the add-on's. `tls`: Secret → hosts."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name},
        "spec": {
            "rules": rules,
            "tls": [{"secretName": secret, "hosts": hosts} for secret, hosts in (tls or {}).items()],
        },
    }


def rule(host: str, *paths: dict[str, Any]) -> dict[str, Any]:
    return {"host": host, "http": {"paths": paths}}


def path(prefix: str, service: str, port: int | str) -> dict[str, Any]:
    named = {"name": port} if isinstance(port, str) else {"number": port}
    return {"path": prefix, "pathType": "Prefix", "backend": {"service": {"name": service, "port": named}}}


def secret(name: str, signed: Signed) -> dict[str, Any]:
    texts = {"tls.crt": signed.certificate, "tls.key": signed.key}
    data = {key: b64encode(text.encode()).decode() for key, text in texts.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": "kubernetes.io/tls",
        "data": data,
    }


def asked(lab: Lab, host: str, where: str, signed: Signed | None = None) -> tuple[int, str]:
    """The answer at the published port; over TLS, trusting the authority of `signed` alone, where that is given."""
    port: PortRequest = INGRESS if signed is None else INGRESS_TLS
    endpoint = lab.client.get(lab.cluster.id).endpoints[f"ports/{port.name}"]
    context = ssl.create_default_context(cadata=signed.authority) if signed is not None else False
    scheme = "http" if signed is None else "https"
    with httpx.Client(verify=context, trust_env=False, timeout=30) as client:
        request = client.build_request(
            "GET", f"{scheme}://{endpoint}{where}", headers={"Host": host}, extensions={"sni_hostname": host}
        )
        answer = client.send(request)
    return answer.status_code, answer.text.strip()


def await_answer(lab: Lab, host: str, where: str, wanted: tuple[int, str], signed: Signed | None = None) -> None:
    def look() -> bool | None:
        try:
            return True if asked(lab, host, where, signed) == wanted else None
        except httpx.TransportError:
            return None

    until(f"{host}{where} answers {wanted}", look, seconds=PATIENCE_SECONDS)


def addresses(lab: Lab, name: str) -> list[str]:
    status = json.loads(lab.kubectl("get", "ingress", name, "-o", "json"))["status"]
    return [one["ip"] for one in status["loadBalancer"].get("ingress", [])]


def warning(lab: Lab, name: str) -> str | None:
    """The message of the program's event about an Ingress."""
    selector = f"involvedObject.name={name},reason=Rejected"
    events = json.loads(lab.kubectl("get", "events", "--field-selector", selector, "-o", "json"))["items"]
    return str(events[0]["message"]) if events else None
