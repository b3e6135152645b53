"""Dayfly's own identity at a cluster's API server: an audit log tells Dayfly from callers."""

from __future__ import annotations

from dayfly.domain.cluster.model import Endpoint
from dayfly.domain.cluster.network import API_PORT
from dayfly.domain.security.kubeconfig import SERVER_NAME, client_identity
from dayfly.domain.security.secrets import ClusterSecrets
from dayfly.drivers.interfaces import KubeAccess
from dayfly.steps.step import StepContext


def kube_access(secrets: ClusterSecrets, endpoint: Endpoint) -> KubeAccess:
    """An administrator's access to the API server published at `endpoint`."""
    identity = client_identity(secrets.pki, "dayfly")
    return KubeAccess(
        endpoint=endpoint,
        ca=secrets.pki["pki/ca.crt"],
        certificate=identity.certificate,
        key=identity.key,
        server_name=SERVER_NAME,
    )


async def access_of(context: StepContext) -> KubeAccess:
    """kube_access for a step's cluster. Raises ContainerExited where no port is published."""
    return kube_access(context.secrets, await context.endpoint(API_PORT))
