"""/v1/clusters/{cluster}/nodes: the virtual machines, their SSH access and consoles."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Annotated, Final

import structlog
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import PlainTextResponse

from dayfly.api.clusters.presenter import show_node
from dayfly.api.dependencies import ApiServices, Services
from dayfly.api.long_poll import HeldStream, until_closing, while_proven
from dayfly.api.parameters import CallersCluster, TheCluster, TheNode
from dayfly.domain.cluster import naming, network
from dayfly.domain.cluster.boot_source import TEMPLATE
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Cluster, MachineMemory, StepState
from dayfly.errors import Failure, InfrastructureError, Internal, NotReady
from dayfly.schemas.nodes import NodeList, SshAccess

router: Final = APIRouter(prefix="/v1/clusters/{cluster}/nodes", tags=["nodes"])

MAX_TAIL_BYTES: Final = 1024 * 1024
_MEMORY_SECONDS: Final = 5.0

_log = structlog.get_logger(__name__)


@router.get("", operation_id="listNodes")
async def list_nodes(services: Services, cluster: TheCluster) -> NodeList:
    """List the nodes, the control plane first, each with its steps and its present memory on the host."""
    steps = await services.store.clusters.steps(cluster.id)
    memory = await _memory(cluster, services)
    now = services.clock.now()
    return NodeList(
        nodes=tuple(show_node(cluster, node, steps, memory.get(node.name), now) for node in cluster.spec.nodes())
    )


@router.get("/{node}/ssh", operation_id="getNodeSsh")
async def get_ssh(services: Services, response: Response, cluster: CallersCluster, node: TheNode) -> SshAccess:
    """SSH access to a node: address, private key and expected host key.

    409 `not_ready` before the node's port is published, while its VM does not run, and before a fork has keys of its
    own. 409 `conflict` for a cluster of a template or a pool; the same for consoles, kubeconfig, registry and ports.
    """
    endpoint = cluster.endpoints.get(network.ssh_forward_port(node.index))
    secrets = await services.store.clusters.secrets(cluster.id)
    # Pending: stopped, or a claimed pool member, whose secrets are those of the pool until a worker begins.
    if endpoint is None or secrets is None or cluster.phase in {Phase.PENDING, Phase.HIBERNATED}:
        raise NotReady(f"{node.name} of cluster {cluster.name} has no SSH port: the cluster is {cluster.phase}")
    await _require_guest(services, cluster, node.name)
    response.headers["Cache-Control"] = "no-store"
    algorithm, key, *_ = secrets.host_key.public.split()
    pattern = endpoint.host if endpoint.port == 22 else f"[{endpoint.host}]:{endpoint.port}"
    return SshAccess(
        host=endpoint.host,
        port=endpoint.port,
        username="root",
        private_key=secrets.user_key.private,
        host_key=f"{algorithm} {key}",
        known_hosts=f"{pattern} {algorithm} {key}",
    )


@router.get(
    "/{node}/console",
    operation_id="getNodeConsole",
    response_class=PlainTextResponse,
    responses={200: {"description": "Output of the serial console. Bytes that are not UTF-8 are replaced."}},
)
async def get_console(
    request: Request,
    services: Services,
    cluster: CallersCluster,
    node: TheNode,
    tail_bytes: Annotated[
        int, Query(ge=0, le=MAX_TAIL_BYTES, description="Maximum length of the past output, from its end.")
    ] = 65536,
    follow: Annotated[bool, Query(description="Stream new output, too, until the node ends.")] = False,
) -> Response:
    """The end of a node's serial console output; with `follow`, new output, too.

    A followed response is complete when the node has ended. When the service stops, the connection breaks: ask again.
    """
    printed = b""
    if tail_bytes:
        printed = await services.lookups.bounded(_printed(cluster, node.name, tail_bytes, services))
    if not follow:
        return PlainTextResponse(printed.decode(errors="replace"))
    live = while_proven(request, until_closing(services, services.follow_console(cluster.id, node.name)))
    return HeldStream(request, services, services.held, _decoded(printed, live), "text/plain; charset=utf-8")


async def _require_guest(services: ApiServices, cluster: Cluster, node: str) -> None:
    """Raise NotReady unless the node's VM runs, with the keys of the cluster. A guest that boots is not waited for."""
    whose = f"{node} of cluster {cluster.name}"
    if cluster.boot_source is not None and cluster.boot_source.kind != "image" and cluster.phase is not Phase.READY:
        steps = await services.store.clusters.steps(cluster.id)
        done = {step.name for step in steps if step.state is StepState.DONE and step.node in {None, node}}
        if "restore" not in done:
            raise NotReady(f"{whose} has no SSH: its memory is not restored yet, and the cluster is {cluster.phase}")
        if cluster.boot_source == TEMPLATE and "personalize" not in done:
            raise NotReady(f"{whose} has no SSH: it has no keys of its own yet, and the cluster is {cluster.phase}")
    try:
        runs = await services.lookups.bounded(services.node_runs(cluster.id, node))
    except (InfrastructureError, Failure) as error:
        _log.info("whether a machine runs is not known", cluster=cluster.id, node=node, reason=error.for_operator)
        return  # the VM may run although the engine does not answer
    if not runs:
        raise NotReady(f"{whose} has no SSH: its VM does not run, and the cluster is {cluster.phase}")


async def _printed(cluster: Cluster, node: str, tail_bytes: int, services: ApiServices) -> bytes:
    """From the node, or from what was kept as evidence when it was removed."""
    if text := await services.read_console(cluster.id, node, tail_bytes):
        return text
    kept = (await services.store.clusters.evidence(cluster.id)).get(f"{node}/console", "")
    return kept.encode()[-tail_bytes:]


async def _memory(cluster: Cluster, services: ApiServices) -> Mapping[str, MachineMemory]:
    """Memory of the VMs that run and could be measured in time, by node."""
    if cluster.phase not in {Phase.PROVISIONING, Phase.READY}:
        return {}
    found: dict[str, MachineMemory] = {}

    async def ask(node: str) -> None:
        try:
            found[node] = await services.machine_memory(naming.container_name(cluster.id, node))
        except Internal:
            raise
        except (Failure, InfrastructureError) as error:
            _log.info("a machine's memory is not known", cluster=cluster.id, node=node, reason=error.for_operator)

    try:
        async with asyncio.timeout(_MEMORY_SECONDS), asyncio.TaskGroup() as group:
            for node in cluster.spec.nodes():
                group.create_task(ask(node.name))
    except TimeoutError:
        _log.warning("memory of some VMs was not measured in time", cluster=cluster.id, measured=sorted(found))
    return found


async def _decoded(first: bytes, following: AsyncIterator[bytes]) -> AsyncGenerator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    yield decoder.decode(first)
    async for chunk in following:
        yield decoder.decode(chunk)
