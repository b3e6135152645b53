"""Kubeconfigs as text. Not here: where their certificates come from (pki.py)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import yaml

from dayfly.domain.cluster.model import Endpoint
from dayfly.domain.cluster.naming import node_name

CLIENTS: Final = "clients"
"""Below this path of a cluster's PKI: identities that are no node's, `caller` and `dayfly`."""

SERVER_NAME: Final = node_name(1)
"""A SAN of the API server's certificate: what a client expects there, whatever host and port it dialled."""


@dataclass(frozen=True)
class ClientIdentity:
    """Who a client is: a name for people, its certificate and key as PEM."""

    name: str
    certificate: str
    key: str = field(repr=False)


def render_kubeconfig(cluster_name: str, pki: Mapping[str, str], endpoint: Endpoint) -> str:
    """What a caller gets: an administrator's kubeconfig for the cluster, at `endpoint` on the host.

    TLS stays verified behind any host and port: the certificate has to name SERVER_NAME, not the endpoint.
    """
    identity = client_identity(pki, "caller")
    server = f"https://{endpoint.host}:{endpoint.port}"
    return kubeconfig(cluster_name, server, pki["pki/ca.crt"], identity, server_name=SERVER_NAME)


def client_identity(pki: Mapping[str, str], name: str) -> ClientIdentity:
    """The identity of `caller` (who fetches a kubeconfig) or `dayfly` (the service itself)."""
    return ClientIdentity(name, pki[f"{CLIENTS}/{name}.crt"], pki[f"{CLIENTS}/{name}.key"])


def kubeconfig(
    cluster_name: str, server: str, ca: str, identity: ClientIdentity, *, server_name: str | None = None
) -> str:
    """A kubeconfig with one cluster, one user and one context, as YAML; certificates are embedded.

    `server` is a URL, `ca` PEM; `server_name`, where given, is the name that the server's certificate must have.
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
