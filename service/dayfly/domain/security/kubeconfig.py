"""Kubeconfigs as text. Not here: their certificates (pki.py)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import yaml

from dayfly.domain.cluster.model import Endpoint
from dayfly.domain.cluster.naming import node_name

CLIENTS: Final = "clients"
"""The path in a cluster's PKI of the identities that belong to no node: `caller` and `dayfly`."""

SERVER_NAME: Final = node_name(1)
"""A SAN of the API server's certificate, which clients verify whatever host and port they dial."""


@dataclass(frozen=True)
class ClientIdentity:
    """A client's name for people, and its certificate and key as PEM."""

    name: str
    certificate: str
    key: str = field(repr=False)


def render_kubeconfig(cluster_name: str, pki: Mapping[str, str], endpoint: Endpoint) -> str:
    """The caller's kubeconfig: an administrator of the cluster, at `endpoint` on the host.

    Clients verify SERVER_NAME instead of the endpoint's host, so TLS verification works behind any host and port.
    """
    identity = client_identity(pki, "caller")
    server = f"https://{endpoint}"
    return kubeconfig(cluster_name, server, pki["pki/ca.crt"], identity, server_name=SERVER_NAME)


def client_identity(pki: Mapping[str, str], name: str) -> ClientIdentity:
    """The identity of `caller` (for kubeconfigs) or `dayfly` (the service itself)."""
    return ClientIdentity(name, pki[f"{CLIENTS}/{name}.crt"], pki[f"{CLIENTS}/{name}.key"])


def kubeconfig(
    cluster_name: str, server: str, ca: str, identity: ClientIdentity, *, server_name: str | None = None
) -> str:
    """A kubeconfig with one cluster, one user and one context, as YAML; certificates are embedded.

    `server` is a URL, `ca` PEM. Clients verify `server_name`, where given, instead of the URL's host.
    """
    user = f"{identity.name}@{cluster_name}"
    cluster = {"server": server, "certificate-authority-data": _embed(ca)}
    if server_name:
        cluster["tls-server-name"] = server_name
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster_name, "cluster": cluster}],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": _embed(identity.certificate),
                    "client-key-data": _embed(identity.key),
                },
            }
        ],
        "contexts": [{"name": cluster_name, "context": {"cluster": cluster_name, "user": user}}],
        "current-context": cluster_name,
    }
    return yaml.safe_dump(document, sort_keys=False)


def _embed(pem: str) -> str:
    return base64.b64encode(pem.encode()).decode()
