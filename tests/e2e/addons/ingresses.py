"""Ingresses for tests: their manifests, the addresses in their status, and what the published port answers."""

from __future__ import annotations

import json
import ssl
from typing import Any, Final

import httpx

from dayfly.client import PortRequest
from tests.e2e.lab import INGRESS, INGRESS_TLS, Lab
from tests.support.certificates import Signed
from tests.support.guest import until

PATIENCE_SECONDS: Final = 240


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


def addresses(lab: Lab, name: str) -> list[str]:
    status = json.loads(lab.kubectl("get", "ingress", name, "-o", "json"))["status"]
    return [one["ip"] for one in status["loadBalancer"].get("ingress", [])]


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
