"""/v1/clusters/{cluster}/nodes: the virtual machines, their SSH access and consoles."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Final

import structlog
from fastapi import APIRouter, Query, Response
from fastapi.responses import PlainTextResponse, StreamingResponse

from dayfly.api.clusters.presenter import show_node
from dayfly.api.dependencies import ApiServices, MemoryUse, Services
from dayfly.api.parameters import TheCluster, TheNode
from dayfly.domain.cluster import network
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Cluster
from dayfly.errors import NotReady
from dayfly.schemas.nodes import NodeList, SshAccess

router: Final = APIRouter(prefix="/v1/clusters/{cluster}/nodes", tags=["nodes"])

MAX_TAIL_BYTES: Final = 1024 * 1024
_MEMORY_SECONDS: Final = 5.0

_log = structlog.get_logger(__name__)


@router.get("", operation_id="listNodes")
async def list_nodes(services: Services, cluster: TheCluster) -> NodeList:
    """List the nodes, the control plane first, each with its steps and its present memory on the host."""
    steps = await services.store.steps(cluster.id)
    memory = await _memory(cluster, services)
    now = services.clock.now()
    return NodeList(
        nodes=tuple(show_node(cluster, node, steps, memory.get(node.name), now) for node in cluster.spec.nodes())
    )


@router.get("/{node}/ssh", operation_id="getNodeSsh")
async def get_ssh(services: Services, response: Response, cluster: TheCluster, node: TheNode) -> SshAccess:
    """SSH access to a node: address, private key and expected host key. 409 before the node's port is published."""
    endpoint = cluster.endpoints.get(network.ssh_forward_port(node.index))
    secrets = await services.store.secrets(cluster.id)
    if endpoint is None or secrets is None:
        raise NotReady(f"{node.name} of cluster {cluster.name} has no SSH port yet: the cluster is {cluster.phase}")
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
    services: Services,
    cluster: TheCluster,
    node: TheNode,
    tail_bytes: Annotated[
        int, Query(ge=0, le=MAX_TAIL_BYTES, description="Maximum length of the past output, from its end.")
    ] = 65536,
    follow: Annotated[bool, Query(description="Stream new output, too, until the node ends.")] = False,
) -> Response:
    """The end of a node's serial console output; with `follow`, new output, too."""
    printed = await services.consoles.read(cluster, node.name, tail_bytes=tail_bytes) if tail_bytes else b""
    if not follow:
        return PlainTextResponse(printed.decode(errors="replace"))
    live = services.consoles.stream(cluster, node.name)
    return StreamingResponse(_decoded(printed, live), media_type="text/plain; charset=utf-8")


async def _memory(cluster: Cluster, services: ApiServices) -> Mapping[str, MemoryUse]:
    """Memory of the VMs that run and could be measured in time, by node."""
    if cluster.phase not in {Phase.PROVISIONING, Phase.READY}:
        return {}
    found: dict[str, MemoryUse] = {}

    async def ask(node: str) -> None:
        if (use := await services.memory.read(cluster, node)) is not None:
            found[node] = use

    try:
        async with asyncio.timeout(_MEMORY_SECONDS), asyncio.TaskGroup() as group:
            for node in cluster.spec.nodes():
                group.create_task(ask(node.name))
    except TimeoutError:
        _log.warning("memory of some VMs was not measured in time", cluster=cluster.id, measured=sorted(found))
    return found


async def _decoded(first: bytes, following: AsyncIterator[bytes]) -> AsyncIterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    yield decoder.decode(first)
    async for chunk in following:
        yield decoder.decode(chunk)
