"""Ingresses for tests: their manifests, and the addresses in their status."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.lab import Lab


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
