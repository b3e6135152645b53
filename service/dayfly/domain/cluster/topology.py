"""The containers of a cluster: one pure value, computed from its spec.

Not here: the creation of containers (drivers/docker/container_start.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from dayfly.domain.cluster import boot_source, naming, network, qemu_cmdline
from dayfly.domain.cluster.network_guard import guarded
from dayfly.domain.cluster.spec import ClusterSpec, Node
from dayfly.domain.cluster.timeouts import Accelerator
from dayfly.domain.registry_cache import SOCKETS_DIR, RegistryCache

Role = Literal["net", "registry", "node", "cache"]
"""`cache`: of no cluster (controllers/registry_caches.py)."""

_SHARES_PER_VCPU: Final = 4096
"""Far more than the 1024 of a cluster's other containers: the registry must not slow the machines down."""
_CONTROL_PLANE_WEIGHT: Final = 8
"""Its CPU weight against a worker of the same size in its cluster: all other nodes wait for it, and a starved one loses
its leases. With two emulated nodes on two processors a fork's API answered after 1.6 s; with half the weight, 1.8 s."""

_FORWARD: Final = """\
for forward; do
    while :; do
        socat "TCP-LISTEN:${{forward%%=*}},bind={address},reuseaddr,fork,max-children=200" \\
            "UNIX-CONNECT:${{forward#*=}}"
        sleep 1
    done &
done
exec {program}
"""
"""Arguments: PORT=SOCKET …. In a loop, because the network's container may not have created its bridge yet."""


@dataclass(frozen=True)
class Publication:
    """The host address and ports for a cluster's ports; `port_range` is `first-last`, or None for the driver's own."""

    address: str = "127.0.0.1"
    port_range: str | None = None


@dataclass(frozen=True)
class Volume:
    """A named volume, mounted at `path`; created with `labels` where it does not exist."""

    name: str
    path: str
    labels: Mapping[str, str]
    read_only: bool = False


@dataclass(frozen=True)
class ContainerSpec:
    """One container: all that an engine needs to create it, and no secret.

    Every container runs as root with all capabilities dropped but `capabilities`, and no-new-privileges. `joins` is the
    container whose network namespace it shares. `ports` are published; `tmpfs` maps a path to mount options.
    `cpu_shares` is its weight under CPU contention: an ordinary process has 1024.
    """

    name: str
    role: Role
    image: str
    command: tuple[str, ...]
    labels: Mapping[str, str]
    node: str | None = None
    joins: str | None = None
    capabilities: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    tmpfs: Mapping[str, str] = field(default_factory=dict)
    volumes: tuple[Volume, ...] = ()
    ports: tuple[int, ...] = ()
    publication: Publication = field(default_factory=Publication)
    cpu_shares: int = 1024


@dataclass(frozen=True)
class Topology:
    """All containers of one cluster. `net` owns the namespace that the others join.

    `caches`: the installation's registry caches, which nodes reach through the registry's container.
    """

    net: ContainerSpec
    registry: ContainerSpec
    nodes: tuple[ContainerSpec, ...]
    caches: tuple[RegistryCache, ...] = ()

    def node(self, index: int) -> ContainerSpec:
        return self.nodes[index - 1]


def compute_topology(
    cluster_id: str,
    spec: ClusterSpec,
    *,
    instance: str,
    accelerator: Accelerator,
    publication: Publication,
    generation: int = 1,
    template_id: str | None = None,
    makes_template: bool = False,
    caches: tuple[RegistryCache, ...] = (),
) -> Topology:
    """The containers that `spec` needs, named and labelled for `cluster_id`.

    `template_id`: the template whose volume the nodes mount, to fork it, or (`makes_template`) to write it.
    """

    def labels(role: Role, node: str | None = None) -> dict[str, str]:
        common = {
            naming.LABEL_CLUSTER: cluster_id,
            naming.LABEL_ROLE: role,
            naming.LABEL_INSTANCE: instance,
            naming.LABEL_GENERATION: str(generation),
        }
        return common | ({naming.LABEL_NODE: node} if node else {})

    saved = Volume(
        name=naming.saved_volume(cluster_id),
        path=boot_source.SAVED_DIR,
        labels={naming.LABEL_CLUSTER: cluster_id, naming.LABEL_INSTANCE: instance},
    )
    template = () if template_id is None else (_template_volume(template_id, instance, read_only=not makes_template),)
    net = ContainerSpec(
        name=naming.container_name(cluster_id, "net"),
        role="net",
        image=spec.image_id,
        command=guarded(("/usr/lib/dayfly/net", *network.dnsmasq(spec.node_count)), publication.address),
        labels=labels("net"),
        # SETGID and SETUID: dnsmasq changes its group even when it stays root.
        capabilities=("NET_ADMIN", "NET_RAW", "NET_BIND_SERVICE", "SETGID", "SETUID"),
        devices=("/dev/net/tun",),
        sysctls={"net.ipv4.ip_forward": "1"},
        environment=_net_environment(spec),
        ports=tuple(published_ports(spec)),
        publication=publication,
    )
    registry = ContainerSpec(
        name=naming.container_name(cluster_id, "registry"),
        role="registry",
        image=spec.image_id,
        command=_registry_command(caches),
        labels=labels("registry"),
        joins=net.name,
        volumes=(saved, *_cache_sockets(instance, caches)),
    )
    nodes = tuple(
        ContainerSpec(
            name=naming.container_name(cluster_id, node.name),
            role="node",
            node=node.name,
            image=spec.image_id,
            command=_node_command(spec, node),
            labels=labels("node", node.name),
            joins=net.name,
            devices=("/dev/net/tun", "/dev/kvm") if accelerator == "kvm" else ("/dev/net/tun",),
            tmpfs={qemu_cmdline.RAM_DIR: f"size={node.size.memory_mib + 1}m,mode=0700"},
            volumes=(saved, *template),
            cpu_shares=_cpu_shares(spec, node),
        )
        for node in spec.nodes()
    )
    return Topology(net, registry, nodes, caches)


def published_ports(spec: ClusterSpec) -> Mapping[int, str]:
    """Every published port of the namespace's outer address → its target: `registry`, `ssh/node01`, `ports/web`, …"""
    ports = {network.REGISTRY_PORT: "registry"}
    if spec.manifest.kubernetes is not None:
        ports[network.API_PORT] = "api"
    indices = range(1, spec.node_count + 1)
    ports |= {network.ssh_forward_port(index): f"ssh/{naming.node_name(index)}" for index in indices}
    own = enumerate(spec.ports, start=1)
    return ports | {network.port_forward_port(number): f"ports/{wanted.name}" for number, wanted in own}


def _registry_command(caches: tuple[RegistryCache, ...]) -> tuple[str, ...]:
    """The registry's program; with `caches`, after the start of a forwarder from a port of the bridge to each cache."""
    program = "/usr/lib/dayfly/registry"
    if not caches:
        return (program,)
    forwards = (f"{cache.port}={cache.socket}" for cache in caches)
    return ("/bin/sh", "-c", _FORWARD.format(address=network.GATEWAY, program=program), "registry", *forwards)


def _cache_sockets(instance: str, caches: tuple[RegistryCache, ...]) -> tuple[Volume, ...]:
    if not caches:
        return ()
    name, labels = naming.caches_sockets_volume(instance), naming.caches_labels(instance)
    return (Volume(name, SOCKETS_DIR, labels, read_only=True),)


def _net_environment(spec: ClusterSpec) -> dict[str, str]:
    """The variables that /usr/lib/dayfly/net reads before it executes dnsmasq (provisioning/toolbox/net)."""
    forwards = {
        network.ssh_forward_port(n.index): f"{network.node_address(n.index)}:{network.SSH_PORT}" for n in spec.nodes()
    }
    if spec.manifest.kubernetes is not None:
        forwards[network.API_PORT] = f"{network.node_address(1)}:{network.API_PORT}"
    addresses = {node.name: network.node_address(node.index) for node in spec.nodes()}
    for number, wanted in enumerate(spec.ports, start=1):
        place = wanted.address if wanted.node is None else addresses[wanted.node]
        forwards[network.port_forward_port(number)] = f"{place}:{wanted.port}"
    return {
        "BRIDGE": network.BRIDGE,
        "BRIDGE_MAC": network.BRIDGE_MAC,
        "BRIDGE_ADDRESS": f"{network.GATEWAY}/{network.PREFIX_LENGTH}",
        "SUBNET": network.SUBNET,
        "TAPS": " ".join(network.tap_name(node.index) for node in spec.nodes()),
        "FORWARDS": " ".join(f"{port}={target}" for port, target in forwards.items()),
        "ROUTES": " ".join(_routes(spec)),
    }


def _routes(spec: ClusterSpec) -> list[str]:
    """The routes to Services' addresses, each once."""
    if spec.manifest.kubernetes is None:
        return []
    published = (network.route_to(port.address) for port in spec.ports if port.address is not None)
    return list(dict.fromkeys([str(network.LOAD_BALANCERS), *published]))


def _cpu_shares(spec: ClusterSpec, node: Node) -> int:
    # The sum follows the cluster's vCPUs: without shares, the scheduler weighs a container as one process.

    def weight(one: Node) -> int:
        is_awaited = one.role == "control-plane" and spec.manifest.kubernetes is not None
        return one.size.vcpus * (_CONTROL_PLANE_WEIGHT if is_awaited else 1)

    nodes = spec.nodes()
    shares = _SHARES_PER_VCPU * sum(one.size.vcpus for one in nodes)
    return shares * weight(node) // sum(map(weight, nodes))


def _template_volume(template_id: str, instance: str, *, read_only: bool) -> Volume:
    return Volume(
        name=naming.template_volume(template_id),
        path=boot_source.TEMPLATE_DIR,
        labels={naming.LABEL_TEMPLATE: template_id, naming.LABEL_INSTANCE: instance},
        read_only=read_only,
    )


def machine_of(spec: ClusterSpec, node: Node, accelerator: Accelerator) -> qemu_cmdline.Machine:
    return qemu_cmdline.Machine(
        name=node.name,
        accelerator=accelerator,
        vcpus=node.size.vcpus,
        memory_mib=node.size.memory_mib,
        kernel=spec.manifest.kernel,
        initrd=spec.manifest.initrd,
        kernel_arguments=spec.manifest.kernel_arguments,
        tap=network.tap_name(node.index),
        mac=network.node_mac(node.index),
        boot=spec.manifest.boot,
    )


def _node_command(spec: ClusterSpec, node: Node) -> tuple[str, ...]:
    """/usr/lib/dayfly/node prepares the overlay, waits for the tap, bounds the console's log, and executes QEMU."""
    return (
        "/usr/lib/dayfly/node",
        qemu_cmdline.START_FILE,
        spec.manifest.disk,
        qemu_cmdline.OVERLAY,
        f"{node.size.disk_gib}G",
        network.tap_name(node.index),
        qemu_cmdline.CONSOLE_LOG,
    )
