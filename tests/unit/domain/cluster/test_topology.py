"""The containers of a cluster, as one value."""

from __future__ import annotations

from typing import Literal

import pytest

from dayfly.domain.cluster import naming, network
from dayfly.domain.cluster.spec import PublishedPort
from dayfly.domain.cluster.topology import ContainerSpec, Publication, Topology, compute_topology, published_ports
from dayfly.domain.registry_cache import read_caches
from dayfly.vocabulary import MAX_NODES, MAX_PORTS
from tests.support.specs import IMAGE_ID, make_spec


def topology(
    workers: int = 1,
    *,
    kubernetes: bool = True,
    cluster_id: str = "0a1b2c3d4e5f",
    accelerator: Literal["kvm", "tcg"] = "tcg",
) -> Topology:
    return compute_topology(
        cluster_id,
        make_spec(workers=workers, kubernetes=kubernetes),
        instance="lab",
        accelerator=accelerator,
        publication=Publication("127.0.0.1", "40000-40999"),
    )


def containers(value: Topology) -> tuple[ContainerSpec, ...]:
    return (value.net, value.registry, *value.nodes)


def test_one_namespace_that_all_others_join() -> None:
    value = topology()
    assert value.net.joins is None
    assert {c.joins for c in containers(value)[1:]} == {value.net.name}


def test_registry_caches_change_the_registrys_container_only() -> None:
    plain = topology()
    cached = compute_topology(
        "0a1b2c3d4e5f",
        make_spec(workers=1, kubernetes=True),
        instance="lab",
        accelerator="tcg",
        publication=Publication("127.0.0.1", "40000-40999"),
        caches=read_caches(["quay.io", "docker.io"]),
    )
    assert (cached.net, cached.nodes) == (plain.net, plain.nodes)
    assert plain.registry.command == ("/usr/lib/dayfly/registry",)
    shell, option, program, _, *forwards = cached.registry.command
    assert (shell, option) == ("/bin/sh", "-c")
    # Only for the bridge: the engine's network has other people's containers.
    assert f"bind={network.GATEWAY}," in program
    assert program.splitlines()[-1] == "exec /usr/lib/dayfly/registry"
    assert forwards == ["5001=/run/dayfly-caches/docker.io.sock", "5002=/run/dayfly-caches/quay.io.sock"]
    saved, sockets = cached.registry.volumes
    assert (saved,) == plain.registry.volumes
    assert (sockets.name, sockets.path, sockets.read_only) == (
        "dayfly-registry-cache-lab-sockets",
        "/run/dayfly-caches",
        True,
    )
    assert cached.registry.ports == ()
    assert cached.registry.capabilities == ()


def test_names_and_labels_are_exact_evidence() -> None:
    value = topology()
    assert [c.name for c in containers(value)] == [
        f"dayfly-0a1b2c3d4e5f-{part}" for part in ("net", "registry", "node01", "node02")
    ]
    for container in containers(value):
        assert container.labels[naming.LABEL_CLUSTER] == "0a1b2c3d4e5f"
        assert container.labels[naming.LABEL_INSTANCE] == "lab"
        assert container.labels[naming.LABEL_ROLE] == container.role
        assert container.labels[naming.LABEL_GENERATION] == "1"
        assert container.image == IMAGE_ID


def test_only_the_namespace_owner_has_capabilities_and_only_it_publishes() -> None:
    value = topology()
    assert set(value.net.capabilities) == {"NET_ADMIN", "NET_RAW", "NET_BIND_SERVICE", "SETGID", "SETUID"}
    for container in containers(value)[1:]:
        assert container.capabilities == ()
        assert container.ports == ()


@pytest.mark.parametrize(("accelerator", "devices"), [("tcg", {"/dev/net/tun"}), ("kvm", {"/dev/net/tun", "/dev/kvm"})])
def test_nodes_see_kvm_only_where_it_is_used(accelerator: Literal["kvm", "tcg"], devices: set[str]) -> None:
    assert set(topology(accelerator=accelerator).nodes[0].devices) == devices


@pytest.mark.parametrize(
    ("address", "callers"),
    [("127.0.0.1", "host"), ("127.9.9.9", "host"), ("::1", "host"), ("0.0.0.0", "any"), ("192.0.2.7", "any")],  # noqa: S104
)
def test_the_namespace_accepts_other_hosts_only_where_its_ports_are_published_for_them(
    address: str, callers: str
) -> None:
    value = compute_topology(
        "0a1b2c3d4e5f",
        make_spec(kubernetes=False),
        instance="lab",
        accelerator="tcg",
        publication=Publication(address),
    )
    assert value.net.command[:2] == ("/bin/sh", "-c")
    assert value.net.command[3:6] == ("guard", callers, "/usr/lib/dayfly/net")


def test_two_clusters_are_the_same_inside_and_share_no_name() -> None:
    one, two = topology(cluster_id="0" * 12), topology(cluster_id="1" * 12)
    assert one.net.command == two.net.command
    assert one.net.environment == two.net.environment
    assert [n.command for n in one.nodes] == [n.command for n in two.nodes]
    assert {c.name for c in containers(one)}.isdisjoint(c.name for c in containers(two))


def test_every_published_port_but_the_registrys_is_forwarded_to_a_node() -> None:
    value = topology(workers=2)
    forwards = dict(pair.split("=") for pair in value.net.environment["FORWARDS"].split())
    assert {int(p) for p in forwards} == set(value.net.ports) - {network.REGISTRY_PORT}
    assert forwards["2203"] == "192.168.66.103:22"
    assert forwards["6443"] == "192.168.66.101:6443"


def test_a_callers_ports_are_forwarded_to_the_nodes_that_have_them() -> None:
    ports = (
        PublishedPort(name="web", node="node02", port=30080),
        PublishedPort(name="again", node="node02", port=30080),
        PublishedPort(name="db", node="node01", port=5432),
    )
    plain = make_spec(workers=1, kubernetes=True)
    spec = plain.model_copy(update={"ports": ports})
    net = compute_topology("0" * 12, spec, instance="lab", accelerator="tcg", publication=Publication()).net
    forwards = dict(pair.split("=") for pair in net.environment["FORWARDS"].split())
    targets = {name: forwards[str(port)] for port, name in published_ports(spec).items() if str(port) in forwards}
    assert {name: target for name, target in targets.items() if name.startswith("ports/")} == {
        "ports/web": "192.168.66.102:30080",
        "ports/again": "192.168.66.102:30080",
        "ports/db": "192.168.66.101:5432",
    }
    assert set(net.ports) == set(published_ports(spec))
    assert spec.shape == plain.shape, "it is no other template"


def test_ports_of_services_addresses_are_forwarded_and_have_routes() -> None:
    ports = (
        PublishedPort(name="web", address="192.168.67.10", port=80),
        PublishedPort(name="api", address="10.96.0.77", port=8080),
        PublishedPort(name="admin", address="10.96.0.77", port=8081),
    )
    spec = make_spec(workers=1, kubernetes=True).model_copy(update={"ports": ports})
    net = compute_topology("0" * 12, spec, instance="lab", accelerator="tcg", publication=Publication()).net
    forwards = net.environment["FORWARDS"].split()
    assert {"7001=192.168.67.10:80", "7002=10.96.0.77:8080", "7003=10.96.0.77:8081"} < set(forwards)
    assert net.environment["ROUTES"] == "192.168.67.0/24 10.96.0.77=192.168.66.101"


def test_only_clusters_with_kubernetes_have_routes_to_services() -> None:
    assert topology().net.environment["ROUTES"] == "192.168.67.0/24"
    assert topology(kubernetes=False).net.environment["ROUTES"] == ""


@pytest.mark.parametrize(
    ("address", "is_service"),
    [
        ("192.168.67.1", True),
        ("192.168.67.254", True),
        ("10.96.0.1", True),
        ("10.111.255.254", True),
        ("192.168.67.0", False),
        ("192.168.67.255", False),
        ("192.168.66.101", False),
        ("10.112.0.1", False),
        ("10.244.1.7", False),
        ("192.168.067.10", False),
        ("999.1.1.1", False),
        ("", False),
    ],
)
def test_addresses_of_services(address: str, *, is_service: bool) -> None:
    assert network.is_service_address(address) is is_service


def test_a_stored_spec_without_addresses_is_read() -> None:
    assert PublishedPort.model_validate_json('{"name": "web", "node": "node02", "port": 80}') == PublishedPort(
        name="web", node="node02", port=80
    )


def test_no_two_published_ports_are_one() -> None:
    ports = tuple(PublishedPort(name=f"p{number}", node="node01", port=number) for number in range(1, MAX_PORTS + 1))
    spec = make_spec(workers=MAX_NODES - 1, kubernetes=True).model_copy(update={"ports": ports})
    assert len(published_ports(spec)) == MAX_PORTS + MAX_NODES + len(("api", "registry"))


def test_without_kubernetes_no_api_port_is_published() -> None:
    assert network.API_PORT not in topology(kubernetes=False).net.ports
    assert published_ports(make_spec(workers=1)) == {5000: "registry", 2201: "ssh/node01", 2202: "ssh/node02"}


def test_memory_fits_into_the_nodes_own_file_system() -> None:
    node = topology().node(2)
    size = next(o for o in node.tmpfs["/ram"].split(",") if o.startswith("size="))
    assert int(size.removeprefix("size=").removesuffix("m")) > 512


def test_a_cluster_weighs_as_much_as_it_has_processors_and_most_of_that_is_its_control_plane() -> None:
    for workers in (0, 1, 5):
        shares = [node.cpu_shares for node in topology(workers=workers).nodes]
        assert sum(shares) == pytest.approx(8192 * (workers + 1), abs=workers + 1)
        assert all(shares[0] == pytest.approx(8 * worker, rel=0.01) for worker in shares[1:])


def test_without_kubernetes_all_nodes_weigh_the_same() -> None:
    assert [node.cpu_shares for node in topology(workers=1, kubernetes=False).nodes] == [8192, 8192]


def test_no_secret_is_in_the_value() -> None:
    assert "PRIVATE" not in repr(topology())
