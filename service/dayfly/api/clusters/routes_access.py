"""Access to a cluster: kubeconfig, registry, published ports, and the evidence of a failed cluster."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Response
from fastapi.responses import PlainTextResponse

from dayfly.api.clusters.presenter import show_ports
from dayfly.api.dependencies import Services
from dayfly.api.parameters import CallersCluster, TheCluster
from dayfly.domain.cluster import network
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.security.kubeconfig import render_kubeconfig
from dayfly.errors import NoKubernetes, NotFound, NotReady
from dayfly.schemas.clusters import PortList, Registry

_LISTS: Final = ("clusters", "users", "contexts")
_STRINGS: Final = ("apiVersion", "kind", "current-context")
_KUBECONFIG: Final[dict[str, Any]] = {
    "type": "object",
    "required": [*_LISTS, *_STRINGS],
    "properties": {name: {"type": "array"} for name in _LISTS} | {name: {"type": "string"} for name in _STRINGS},
}
"""The schema of the document, not of its text: clients that read YAML compare what they read with it."""

router: Final = APIRouter(prefix="/v1/clusters/{cluster}", tags=["access"])


@router.get(
    "/kubeconfig",
    operation_id="getKubeconfig",
    response_class=Response,
    responses={
        200: {
            "description": "An administrator's kubeconfig, with the CA that verifies TLS. Keep this file secret.",
            "content": {"application/yaml": {"schema": _KUBECONFIG}},
        }
    },
)
async def get_kubeconfig(services: Services, cluster: CallersCluster) -> Response:
    """The kubeconfig of a ready cluster. 409 `not_ready` in other phases; 404 `no_kubernetes` without Kubernetes."""
    if cluster.spec.manifest.kubernetes is None:
        raise NoKubernetes(f"the image {cluster.spec.image} has no Kubernetes: its clusters have no kubeconfig")
    if cluster.spec.readiness == "booted":
        raise NoKubernetes(f"cluster {cluster.name} runs no Kubernetes: it was created with readiness 'booted'")
    endpoint = cluster.endpoints.get(network.API_PORT)
    secrets = await services.store.clusters.secrets(cluster.id)
    ready = cluster.phase is Phase.READY and cluster.desired is Desired.PRESENT
    if not ready or endpoint is None or secrets is None:
        raise NotReady(f"cluster {cluster.name} is {_condition(cluster.phase, cluster.desired)}, not ready")
    text = render_kubeconfig(cluster.name, secrets.pki, endpoint)
    return Response(text, media_type="application/yaml", headers={"Cache-Control": "no-store"})


@router.get("/registry", operation_id="getRegistry")
async def get_registry(cluster: CallersCluster) -> Registry:
    """The cluster's image registry: its address for pushes from outside, and for pulls inside."""
    endpoint = cluster.endpoints.get(network.REGISTRY_PORT)
    if endpoint is None or cluster.phase in {Phase.PENDING, Phase.HIBERNATED}:
        raise NotReady(f"the registry of cluster {cluster.name} does not run: the cluster is {cluster.phase}")
    return Registry(push=str(endpoint), pull=f"registry:{network.REGISTRY_PORT}")


@router.get("/ports", operation_id="listPorts")
async def list_ports(cluster: CallersCluster) -> PortList:
    """List the cluster's published ports."""
    return show_ports(cluster)


@router.get(
    "/evidence/{name:path}",
    operation_id="getEvidence",
    response_class=PlainTextResponse,
    responses={200: {"description": "The last 64 KiB of the text."}},
)
async def get_evidence(
    services: Services,
    cluster: TheCluster,
    name: Annotated[str, Path(description="One of the names in the cluster's `error.evidence`.")],
) -> PlainTextResponse:
    """Evidence of the failure, such as a console or a log. Kept as long as the cluster's record."""
    evidence = await services.store.clusters.evidence(cluster.id)
    if name not in evidence:
        raise NotFound(f"cluster {cluster.name} has no evidence of this name")
    return PlainTextResponse(evidence[name])


def _condition(phase: Phase, desired: Desired) -> str:
    if desired is Desired.ABSENT and phase is not Phase.DELETED:
        return "being deleted"
    return "being hibernated" if desired is Desired.HIBERNATED and phase is Phase.READY else phase.value
