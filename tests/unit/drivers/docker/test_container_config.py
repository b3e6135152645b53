"""Docker's container configuration: privileges first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dayfly.domain.cluster.topology import ContainerSpec, Publication, Topology, compute_topology
from dayfly.drivers.docker.container_config import (
    LABEL_PORTS,
    container_config,
    never_run_config,
    one_shot_config,
    tool_config,
)
from dayfly.drivers.docker.host_ports import ports_of
from dayfly.drivers.interfaces import ToolContainer
from tests.support.specs import make_spec


def _topology(accelerator: str = "tcg", port_range: str | None = None) -> Topology:
    return compute_topology(
        "c1",
        make_spec(workers=1, kubernetes=True),
        instance="here",
        accelerator=accelerator,  # type: ignore[arg-type]
        publication=Publication("127.0.0.1", port_range),
    )


def _ports(spec: ContainerSpec) -> dict[int, int]:
    return {port: 20000 + at for at, port in enumerate(spec.ports)}


def _all(topology: Topology) -> list[ContainerSpec]:
    return [topology.net, topology.registry, *topology.nodes]


@pytest.mark.parametrize("accelerator", ["kvm", "tcg"])
def test_no_container_is_privileged(accelerator: str) -> None:
    for spec in _all(_topology(accelerator)):
        host = container_config(spec, _ports(spec))["HostConfig"]
        assert host["Privileged"] is False
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges"]
        assert host["CapAdd"] == list(spec.capabilities)
        assert "Binds" not in host
        assert all(mount["Type"] == "volume" for mount in host["Mounts"]), "nothing of the host"


def test_nodes_and_registry_get_no_capability_and_the_namespace_of_net() -> None:
    topology = _topology()
    for spec in [topology.registry, *topology.nodes]:
        host = container_config(spec)["HostConfig"]
        assert host["CapAdd"] == []
        assert host["NetworkMode"] == f"container:{topology.net.name}"
        # Docker refuses both for a container that joins another's network.
        assert host["PortBindings"] == {}
        assert container_config(spec)["ExposedPorts"] == {}


@given(
    ports=st.lists(st.integers(1, 65535), unique=True, max_size=8),
    address=st.sampled_from(["127.0.0.1", "0.0.0.0", "10.1.2.3"]),  # noqa: S104
)
def test_every_port_is_bound_to_the_address_that_was_asked_for(ports: list[int], address: str) -> None:
    spec = ContainerSpec("n", "net", "i", ("x",), {}, ports=tuple(ports), publication=Publication(address))

    config = container_config(spec, _ports(spec))

    assert set(config["ExposedPorts"]) == {f"{port}/tcp" for port in ports}
    for port, host_port in _ports(spec).items():
        (binding,) = config["HostConfig"]["PortBindings"][f"{port}/tcp"]
        assert binding == {"HostIp": address, "HostPort": str(host_port)}
    assert ports_of(config["Labels"]) == set(_ports(spec).values())


def test_what_publishes_nothing_says_so() -> None:
    assert LABEL_PORTS not in container_config(_topology().registry)["Labels"]
    assert ports_of({}) == frozenset()


def test_nothing_of_the_image_decides_what_runs() -> None:
    net = _topology().net
    config = container_config(net, _ports(net))

    assert config["Entrypoint"] == []
    assert config["Cmd"] == list(net.command)


def test_logs_are_bounded_and_nothing_restarts_by_itself() -> None:
    host = container_config(_topology().registry)["HostConfig"]

    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "1"}}
    assert host["RestartPolicy"] == {"Name": "no"}


def test_a_one_shot_has_neither_network_nor_capability() -> None:
    config = one_shot_config("image", ("true",), ("/dev/kvm",), {})

    assert config["HostConfig"]["NetworkMode"] == "none"
    assert config["HostConfig"]["CapDrop"] == ["ALL"]
    assert "CapAdd" not in config["HostConfig"]
    assert config["HostConfig"]["Devices"][0]["PathOnHost"] == "/dev/kvm"


def test_what_never_runs_has_neither_network_nor_capability_nor_a_label_that_an_image_of_it_would_have() -> None:
    config = never_run_config("sha256:1")
    host = config["HostConfig"]
    assert (host["NetworkMode"], host["CapDrop"], host["Privileged"]) == ("none", ["ALL"], False)
    assert config.keys() == {"Image", "HostConfig"}


BAKE = ToolContainer(
    image="dayfly/baker:1",
    command=("python", "-m", "x"),
    capabilities=("SYS_ADMIN", "CHOWN"),
    environment={"A": "b"},
    folders=(Path("/srv/wheels"),),
    volumes={"cache": "/var/cache/dayfly"},
    engine_socket="/run/dayfly/engine.sock",
    mounts_file_systems=True,
)


def test_a_bakes_container_is_not_privileged() -> None:
    host = tool_config(BAKE, Path("/run/docker.sock"), {})["HostConfig"]
    assert host["Privileged"] is False
    assert host["CapDrop"] == ["ALL"]
    assert host["CapAdd"] == ["SYS_ADMIN", "CHOWN"]
    # No word of seccomp: the engine's default profile holds.
    assert host["SecurityOpt"] == ["no-new-privileges", "apparmor=unconfined", "label=disable"]
    quiet = replace(BAKE, mounts_file_systems=False)
    assert _security(quiet) == ["no-new-privileges", "label=disable"]
    assert _security(replace(quiet, folders=(), engine_socket=None)) == ["no-new-privileges"]


def _security(tool: ToolContainer) -> list[str]:
    return list(tool_config(tool, Path("/run/docker.sock"), {})["HostConfig"]["SecurityOpt"])


def test_a_bakes_container_sees_of_the_host_what_it_was_given() -> None:
    config = tool_config(BAKE, Path("/run/docker.sock"), {"dayfly.role": "bake"})
    mounts = {mount["Source"]: mount for mount in config["HostConfig"]["Mounts"]}
    assert mounts.keys() == {"/srv/wheels", "cache", "/run/docker.sock"}
    assert mounts["/srv/wheels"] == {
        "Type": "bind",
        "Source": "/srv/wheels",
        "Target": "/srv/wheels",
        "ReadOnly": True,
    }
    assert mounts["/run/docker.sock"]["Target"] == "/run/dayfly/engine.sock"
    assert mounts["cache"]["VolumeOptions"]["Labels"] == {"dayfly.role": "bake"}
    alone = tool_config(replace(BAKE, engine_socket=None, folders=(), volumes={}), Path("/run/docker.sock"), {})
    assert alone["HostConfig"]["Mounts"] == []


def test_a_bakes_container_ends_with_us_and_leaves_nothing() -> None:
    config = tool_config(BAKE, Path("/run/docker.sock"), {})
    assert config["OpenStdin"] is config["StdinOnce"] is config["AttachStdin"] is True
    assert config["HostConfig"]["AutoRemove"] is True


def test_what_is_removed_by_force_ends_at_once() -> None:
    """Podman would wait ten seconds for what does not heed SIGTERM."""
    assert all(container_config(spec, _ports(spec))["StopTimeout"] == 0 for spec in _all(_topology()))
    assert one_shot_config("i", ["x"], (), {})["StopTimeout"] == 0
