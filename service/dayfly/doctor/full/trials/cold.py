"""The trials on a cold cluster, booted from its image: two nodes, a control plane and a worker."""

from __future__ import annotations

import base64
import secrets
from typing import Final

import yaml

from dayfly.client import Cluster
from dayfly.clock import boot_time
from dayfly.doctor.full.guest import guest
from dayfly.doctor.full.registry_api import MANIFEST_TYPE, RegistryApi, TinyImage, digest_of
from dayfly.doctor.full.report import TrialFailed
from dayfly.doctor.full.session import WORKERS, Session
from dayfly.domain.cluster.model import Endpoint
from dayfly.domain.cluster.naming import node_name
from dayfly.drivers.interfaces import KubeAccess
from dayfly.drivers.kubernetes.client import KubeClient

NODES: Final = tuple(node_name(index) for index in range(1, WORKERS + 2))
_REPOSITORY: Final = "doctor/tiny"
_BULK_BYTES: Final = 4 << 20
_PORT: Final = 7777
_PATIENCE_SECONDS: Final = 30


async def make_cluster(session: Session) -> str:
    """A cold cluster becomes ready; with Kubernetes, all nodes are Ready by the published API."""
    requested = await session.api.create(image=session.image.reference, workers=WORKERS)
    session.cluster = requested.id
    seen = await session.until(requested.id, "ready")
    await session.note_volumes()
    if seen.template is not None:
        raise TrialFailed("not_cold", f"the cluster is a fork of template {seen.template}, but should have been booted")
    nodes = await kubernetes(session, seen.id)
    return f"{len(NODES)} nodes ready {seconds_to_ready(seen):.1f} s after the request{nodes}"


def seconds_to_ready(cluster: Cluster) -> float:
    """Seconds from the request of a cluster to its first `ready`."""
    assert cluster.ready_at is not None  # noqa: S101 - it was ready
    return (cluster.ready_at - cluster.created_at).total_seconds()


async def kubernetes(session: Session, cluster_id: str) -> str:
    """Half a sentence about the cluster's Kubernetes; "" without Kubernetes. Raises NodeNotReady."""
    if not session.has_kubernetes:
        return ""
    session.show_progress("all nodes Ready, by the published API")
    boot_ids = {}
    for node in NODES:
        async with guest(session, cluster_id, node) as shell:
            boot_ids[node] = await shell.boot_id()
    access = access_of(await session.api.kubeconfig(cluster_id))
    await KubeClient(clock=session.clock).wait_nodes_ready(access, boot_ids, timeout=session.limits.nodes_ready)
    return f"; all Ready by the API at {access.endpoint}"


def access_of(kubeconfig: str) -> KubeAccess:
    """The access in a kubeconfig that Dayfly wrote."""
    document = yaml.safe_load(kubeconfig)
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    host, _, port = cluster["server"].removeprefix("https://").rpartition(":")

    def text(encoded: str) -> str:
        return base64.b64decode(encoded).decode()

    return KubeAccess(
        endpoint=Endpoint(host.strip("[]"), int(port)),
        ca=text(cluster["certificate-authority-data"]),
        certificate=text(user["client-certificate-data"]),
        key=text(user["client-key-data"]),
        server_name=cluster["tls-server-name"],
    )


async def log_in(session: Session) -> str:
    """Each node has by SSH its own name, size, kernel and boot, and the right clock."""
    boots = [boot_time().boot_id]
    clocks, keys = [], []
    sizes = {node.name: node.size for node in await session.api.nodes(session.cluster)}
    if set(sizes) != set(NODES):
        raise TrialFailed("nodes_differ", f"the API lists the nodes {sorted(sizes)}, not {list(NODES)}")
    for node in NODES:
        async with guest(session, session.cluster, node) as shell:
            name, kernel, cpus = (await shell.run("hostname; uname -r; nproc")).split()
            if (name, int(cpus)) != (node, sizes[node].vcpus):
                raise TrialFailed(
                    "node_differs", f"{node} has the host name {name} and {cpus} CPUs, not {sizes[node].vcpus}"
                )
            boots.append(await shell.boot_id())
            keys.append(await shell.host_key())
            clocks.append(await shell.check_clock())
    if len(set(boots)) != len(boots):
        raise TrialFailed("same_kernel", f"two of host and nodes run the same kernel: boot ids {boots}")
    session.cold_host_keys = tuple(keys)
    return f"Linux {kernel} of their own; {', '.join(clocks)}"


async def reach_each_other(session: Session) -> str:
    """Each node pings the other, and reads some megabytes from it by TCP, both by name."""
    first, second = NODES
    for here, there in ((first, second), (second, first)):
        async with guest(session, session.cluster, here) as shell, guest(session, session.cluster, there) as other:
            session.show_progress(f"{here} pings {there}")
            await shell.run(f"ping -c 2 -W 30 {there}")
            session.show_progress(f"{here} reads from {there} by TCP")
            # SSH's port is open already, and its first line is known.
            banner = await shell.run(f"nc -w 30 {there} 22 </dev/null | head -n 1")
            if not banner.startswith("SSH-2.0-"):
                raise TrialFailed("no_traffic", f"{here} read {banner!r} from port 22 of {there}, not SSH's greeting")
            sent = await other.run(f"head -c {_BULK_BYTES} /dev/urandom >/tmp/bulk; sha256sum </tmp/bulk")
            await other.run(f"nohup nc -l -N -w {_PATIENCE_SECONDS} -p {_PORT} </tmp/bulk >/dev/null 2>&1 &")
            # The other end may not listen yet.
            fetch = f"until nc -d -w {_PATIENCE_SECONDS} {there} {_PORT} >/tmp/got; do sleep 0.2; done"
            got = await shell.run(f"{fetch}; sha256sum </tmp/got")
            if got != sent:
                raise TrialFailed("no_traffic", f"{here} received other bytes than {there} sent")
    return f"ping, and {_BULK_BYTES >> 20} MiB by TCP, both ways, by name"


async def use_registry(session: Session) -> str:
    """The host pushes and pulls a tiny image, and each node reads it under the registry's inner name."""
    image, tag = TinyImage.of(secrets.token_hex(16)), "1"
    registry = await session.api.registry(session.cluster)
    session.show_progress(f"push to {registry.push}")
    async with RegistryApi(f"http://{registry.push}") as api:
        await api.push(_REPOSITORY, tag, image)
        pulled = await api.manifest(_REPOSITORY, tag)
        layer = await api.blob(_REPOSITORY, digest_of(image.layer))
    if (digest_of(pulled), layer) != (image.digest, image.layer):
        raise TrialFailed("digest_differs", f"the image pulled from {registry.push} differs from the pushed image")
    manifest = f"http://{registry.pull}/v2/{_REPOSITORY}/manifests/{tag}"
    for node in NODES:
        async with guest(session, session.cluster, node) as shell:
            session.show_progress(f"{node} pulls from {registry.pull}")
            got = await shell.run(f"curl -sS --fail --max-time 60 -H 'Accept: {MANIFEST_TYPE}' {manifest} | sha256sum")
        if f"sha256:{got.split()[0]}" != image.digest:
            raise TrialFailed("digest_differs", f"{node} read another manifest from {registry.pull} than was pushed")
    return f"pushed to {registry.push}; the same digest there, and from {registry.pull} on every node"


async def delete_cluster(session: Session) -> str:
    """The cluster is deleted, which also frees its share of the host for later trials."""
    cluster_id, session.cluster = session.cluster, ""
    await session.api.delete(cluster_id)
    await session.until(cluster_id, "deleted")
    left = [
        resource.name
        for resource in await session.infrastructure.engine.list_resources()
        if resource.cluster_id == cluster_id
    ]
    if left:
        raise TrialFailed("left_over", f"the cluster is deleted, but the engine still has {', '.join(sorted(left))}")
    return "deleted; the engine has none of its objects"
