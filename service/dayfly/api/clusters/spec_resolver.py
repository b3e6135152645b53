"""Resolves a request to a specification: defaults come from the image, sizes are checked against it.

Not here: whether the host can run it (capacity_check.py), and how long it may live (ttl.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Literal

from dayfly.api.clusters.capacity_check import check_room
from dayfly.api.clusters.ttl import allowed_ttl
from dayfly.api.dependencies import ApiServices
from dayfly.domain.addon import Addon, select_addons
from dayfly.domain.cluster import naming
from dayfly.domain.cluster.network import LOAD_BALANCERS, SERVICES, is_service_address
from dayfly.domain.cluster.spec import ClusterReadiness, ClusterSpec, PublishedPort, Readiness
from dayfly.domain.image import ImageManifest, NodeSize
from dayfly.errors import BadName, ImpossibleSize, InvalidRequest, TooManyNodes
from dayfly.schemas.cluster_requests import ClusterRequest, PortRequest, ShapeRequest, SizeRequest
from dayfly.vocabulary import CLUSTER_NAME, MAX_DISK_GIB, MAX_NODES


async def resolve_spec(request: ClusterRequest, services: ApiServices) -> ClusterSpec:
    """The cluster's specification on this installation.

    Raises BadName, TooManyNodes, ImpossibleSize, Capacity, ImageMissing, NotANodeImage, InvalidRequest,
    EngineUnavailable.
    """
    if request.name is not None:
        check_name(request.name, "cluster")
    ttl_seconds = allowed_ttl(request.ttl_seconds, services)
    shape = await resolve_shape(request, services)
    return shape.model_copy(
        update={
            "labels": request.labels,
            "ttl_seconds": ttl_seconds,
            "heartbeat_interval_seconds": request.heartbeat_interval_seconds,
            "restart": request.restart,
            "isolation": request.isolation,
            "idle_seconds": request.idle_seconds,
            "conformance": _specs(request, shape.manifest),
            "ports": tuple(_port(f"ports.{index}", one, shape) for index, one in enumerate(request.ports)),
        }
    )


async def resolve_shape(request: ShapeRequest, services: ApiServices) -> ClusterSpec:
    """The specification of a template or of a pool's members, which have a shape, but no name, TTL or labels.

    Raises the errors of resolve_spec except BadName.
    """
    if request.readiness == "conformance" and not isinstance(request, ClusterRequest):
        raise InvalidRequest(
            "readiness: conformance specs run on a cluster before its caller gets it, and not in a template or a pool: "
            "create these with 'usable'; clusters with 'conformance' are their forks and members"
        )
    if 1 + request.workers.count > MAX_NODES:
        raise TooManyNodes(f"a cluster has at most {MAX_NODES} nodes, the control plane included")
    reference = naming.image_reference(request.image)
    image_id, manifest = await services.resolve_image(reference)
    control_plane = _size(request.control_plane, manifest.control_plane)
    worker = _size(request.workers, manifest.worker)
    for role, size in (("control_plane", control_plane), ("workers", worker)):
        _check_against_image(role, size, manifest.minimum)
    readiness = _readiness(request.readiness, manifest)
    spec = ClusterSpec(
        image=reference,
        image_id=image_id,
        manifest=manifest,
        control_plane=control_plane,
        # Without workers their size has no effect: equal clusters must have equal shapes.
        worker=worker if request.workers.count else manifest.worker,
        workers=request.workers.count,
        readiness=readiness,
        addons=await resolve_addons(request.addons, manifest, readiness, services),
    )
    check_room(spec, await services.host_capacity(), services.rules)
    return spec


async def resolve_addons(
    names: Iterable[str], manifest: ImageManifest, readiness: Readiness, services: ApiServices
) -> tuple[Addon, ...]:
    """The add-ons that are part of the image, those of these names, and those that they need.

    Raises InvalidRequest where the cluster cannot have one, AddonUnavailable where no cluster can yet.
    """
    chosen = select_addons(names, services.addons)
    if chosen and manifest.kubernetes is None:
        raise InvalidRequest("addons: an image without Kubernetes has none")
    if chosen and readiness == "booted":
        raise InvalidRequest(
            "addons: a cluster that is ready when it is booted has none: nobody waits for its Kubernetes"
        )
    # Of a cluster that is ready when it is booted, nobody would wait for them.
    baked = () if readiness == "booted" else manifest.addons
    chosen = tuple(addon for addon in chosen if addon.name not in {one.name for one in baked})
    for addon in chosen:
        if {manifest.recipe, *manifest.parent_recipes}.isdisjoint(addon.recipes):
            recipes = ", ".join(addon.recipes)
            raise InvalidRequest(f"addons: {addon.name} runs on images of {recipes}, not on those of {manifest.recipe}")
        version = manifest.kubernetes.version if manifest.kubernetes else ""
        if addon.pulled and not addon.pulled.kubernetes.has(version):
            supported = addon.pulled.kubernetes
            raise InvalidRequest(f"addons: {addon.name} {addon.version} is for Kubernetes {supported}, not {version}")
    # In threads: the first time, definitions of ten thousands of lines are parsed.
    return (*baked, *[await asyncio.to_thread(services.complete_addon, addon) for addon in chosen])


def _port(field: str, wanted: PortRequest, shape: ClusterSpec) -> PublishedPort:
    """Raises InvalidRequest where the node does not exist, or the address cannot be a Service's."""
    if wanted.address is not None:
        if shape.manifest.kubernetes is None:
            raise InvalidRequest(f"{field}.address: an image without Kubernetes has no Services: name a node instead")
        if not is_service_address(wanted.address):
            raise InvalidRequest(
                f"{field}.address: {wanted.address} is no address of a Service: a Service of type LoadBalancer has one "
                f"of {LOAD_BALANCERS}, and a clusterIP is one of {SERVICES}"
            )
        return PublishedPort(name=wanted.name, address=wanted.address, port=wanted.port)
    node = wanted.node or "node01"
    if shape.node(node) is None:
        last = shape.nodes()[-1].name
        raise InvalidRequest(f"{field}.node: the cluster has no {node}: its nodes are node01 to {last}")
    return PublishedPort(name=wanted.name, node=node, port=wanted.port)


def check_name(name: str, whose: Literal["cluster", "pool"]) -> None:
    """Raises BadName."""
    if not CLUSTER_NAME.fullmatch(name):
        raise BadName(
            f"a {whose}'s name has at most 40 lower-case letters, digits and '-', starts with a letter and does not "
            "end with '-'"
        )


def _size(request: SizeRequest, default: NodeSize) -> NodeSize:
    given = {name: getattr(request, name) for name in NodeSize.model_fields}
    return default.model_copy(update={name: value for name, value in given.items() if value is not None})


def _readiness(wanted: ClusterReadiness | None, manifest: ImageManifest) -> Readiness:
    """The part of the readiness that a cluster shares with its template."""
    if manifest.kubernetes is None:
        if wanted not in {None, "booted"}:
            raise InvalidRequest(f"readiness: an image without Kubernetes allows 'booted' only, not {wanted!r}")
        return "booted"
    return "usable" if wanted is None or wanted == "conformance" else wanted


def _specs(request: ClusterRequest, manifest: ImageManifest) -> tuple[str, ...]:
    """The conformance specs of the request. Raises InvalidRequest where the image has no tests."""
    if request.readiness != "conformance":
        return ()
    if manifest.kubernetes is None or manifest.kubernetes.conformance is None:
        raise InvalidRequest(
            f"readiness: the image {request.image} has no conformance tests: use an image of the recipe "
            "k8s-debian-conformance (dayfly image bake k8s-debian-conformance)"
        )
    return request.conformance or manifest.kubernetes.conformance.specs


def _check_against_image(role: str, size: NodeSize, minimum: NodeSize) -> None:
    for name in NodeSize.model_fields:
        requested, least = getattr(size, name), getattr(minimum, name)
        if requested < least:
            raise ImpossibleSize(f"{role}.{name}: {requested} is less than the {least} that the image needs")
    if size.disk_gib > MAX_DISK_GIB:
        raise ImpossibleSize(f"{role}.disk_gib: {size.disk_gib} is more than the {MAX_DISK_GIB} a disk can have")
