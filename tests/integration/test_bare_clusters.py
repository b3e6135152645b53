"""Clusters of plain virtual machines: created, used side by side, and deleted completely."""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from dayfly.client import ApiError, Client, Cluster
from tests.support.service import Service, docker, running_service

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def pair(service: Service) -> Iterator[tuple[Cluster, Cluster]]:
    """Two clusters of two nodes each, made at once."""
    with Client(service.url) as client:
        made = [client.create(name=name, image="bare", workers=1) for name in ("left", "right")]
        try:
            left, right = (client.wait_ready(cluster.id, timeout_seconds=300) for cluster in made)
            yield left, right
        finally:
            for cluster in made:
                with contextlib.suppress(ApiError):
                    client.delete(cluster.id)
                    client.wait_deleted(cluster.id)


def run(service: Service, cluster: str, node: str, command: str) -> str:
    result = service.cli("cluster", "ssh", cluster, node, "--", command, timeout=90)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def containers(cluster: Cluster) -> list[dict[str, object]]:
    ids = docker("ps", "-q", "--filter", f"label=dayfly.cluster={cluster.id}").split()
    inspected: list[dict[str, object]] = json.loads(docker("inspect", *ids))
    return inspected


def test_they_are_the_same_inside_and_different_outside(service: Service, pair: tuple[Cluster, Cluster]) -> None:
    for cluster in pair:
        assert run(service, cluster.name, "node01", "hostname") == "node01"
        assert run(service, cluster.name, "node02", "hostname -I").split()[0] == "192.168.66.102"
        assert run(service, cluster.name, "node01", "ping -c1 -W20 node02 >/dev/null && echo reached") == "reached"
    ports = [{str(endpoint) for endpoint in cluster.endpoints.values()} for cluster in pair]
    assert ports[0].isdisjoint(ports[1])
    assert all(str(endpoint).startswith("127.0.0.1:") for cluster in pair for endpoint in cluster.endpoints.values())
    run(service, "left", "node01", "echo left > /root/mark")
    assert run(service, "right", "node01", "ls /root") == ""
    keys = [run(service, c.name, "node01", "cat /etc/ssh/ssh_host_ed25519_key.pub /etc/machine-id") for c in pair]
    assert keys[0] != keys[1]


def test_no_container_is_privileged_and_nodes_have_no_capability(pair: tuple[Cluster, Cluster]) -> None:
    for cluster in pair:
        found = containers(cluster)
        assert len(found) == 4
        for container in found:
            config = container["HostConfig"]
            assert isinstance(config, dict)
            assert config["Privileged"] is False
            assert config["CapDrop"] == ["ALL"]
            assert "no-new-privileges" in config["SecurityOpt"]
            labels = container["Config"]["Labels"]  # type: ignore[index]
            status = Path(f"/proc/{container['State']['Pid']}/status").read_text()  # type: ignore[index]
            sets = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Cap"))
            if labels["dayfly.role"] in {"node", "registry"}:
                # The bounding set too: nothing in there could ever get one.
                assert {int(sets[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapBnd")} == {0}
            assert "NoNewPrivs:\t1" in status


def test_an_image_pushed_from_the_host_is_pulled_by_a_guest(
    service: Service, client: Client, pair: tuple[Cluster, Cluster]
) -> None:
    registry = client.registry(pair[0].id)
    reference = f"{registry.push}/test/tiny:1"
    tiny = subprocess.run(
        ["docker", "build", "-q", "-t", reference, "-"],
        input=b"FROM scratch\nLABEL tiny=1\n",
        capture_output=True,
        check=True,
    )
    assert tiny.stdout
    try:
        docker("push", reference)
    finally:
        docker("image", "rm", "--force", reference)
    seen = run(service, "left", "node02", f"curl -sf http://{registry.pull}/v2/_catalog")
    assert json.loads(seen)["repositories"] == ["test/tiny"]
    other = client.registry(pair[1].id)
    assert httpx.get(f"http://{other.push}/v2/_catalog").json()["repositories"] == []


def test_a_guest_reaches_no_neighbour(service: Service, pair: tuple[Cluster, Cluster]) -> None:
    left, right = (f"dayfly-{cluster.id}-net" for cluster in pair)
    address = docker("inspect", "--format={{.NetworkSettings.IPAddress}}", right).strip()
    for port in (5000, 2201, 2202):
        attempt = f"timeout 2 bash -c '</dev/tcp/{address}/{port}' 2>&1 || true"
        assert "Connection refused" in run(service, "left", "node01", attempt)
    # The neighbour accepts the gateway's address: no packet with an address that is not the cluster's own leaves it.
    foreign = "203.0.113.7"
    pretend = f"ip address add {foreign}/32 dev lo && ip route add {address} via 192.168.66.2 src {foreign}"
    run(
        service,
        "left",
        "node01",
        f"{pretend}; timeout 2 bash -c '</dev/tcp/{address}/5000'; ip route del {address}; true",
    )
    dropped = docker("exec", left, "iptables", "-w", "-nvxL", "FORWARD")
    (rule,) = [line.split() for line in dropped.splitlines() if " DROP " in line]
    assert int(rule[0]) > 0


def test_the_console_and_the_events_tell_the_story(client: Client, pair: tuple[Cluster, Cluster]) -> None:
    assert client.console(pair[0].id, "node01").strip()
    events = client.all_events(pair[0].id)
    done = {(event.step, event.node) for event in events if event.type == "step.done"}
    assert done == {("sandbox", None), ("registry", None), ("boot", "node01"), ("boot", "node02")}
    assert all(event.seconds is not None for event in events if event.type == "step.done")


def test_a_guest_sends_nothing_outside_by_itself(service: Service, pair: tuple[Cluster, Cluster]) -> None:
    timers = run(service, "left", "node01", "systemctl list-timers --no-legend")
    assert [line.split()[-2] for line in timers.splitlines()] in ([], ["systemd-tmpfiles-clean.timer"])
    assert run(service, "left", "node01", "systemctl is-active systemd-timesyncd || true") == "inactive"


def test_deleting_one_leaves_the_other_serving_and_nothing_of_itself(
    service: Service, client: Client, pair: tuple[Cluster, Cluster]
) -> None:
    containers = docker("ps", "-aq", "--filter", f"label=dayfly.cluster={pair[0].id}").split()
    # Anonymous volumes, too.
    mounted = set(docker("inspect", "--format", "{{range .Mounts}}{{.Name}} {{end}}", *containers).split())
    assert mounted
    client.delete("left")
    client.wait_deleted("left")
    assert not docker("ps", "-aq", "--filter", f"label=dayfly.cluster={pair[0].id}").split()
    assert mounted.isdisjoint(docker("volume", "ls", "-q").split())
    assert run(service, "right", "node02", "hostname") == "node02"
    # The name is free again at once, and the old one is still known by its id.
    assert client.get(pair[0].id).phase == "deleted"


@pytest.mark.parametrize("until", ["sandbox", "boot"])
def test_deleted_in_the_middle_of_a_step_nothing_is_left(service: Service, client: Client, until: str) -> None:
    others = service.objects()
    cluster = client.create(image="bare", workers=1)
    deadline = time.monotonic() + 60
    while not any(e.type == "step.started" and e.step == until for e in client.all_events(cluster.id)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    client.delete(cluster.id)
    client.wait_deleted(cluster.id)
    assert service.objects() == others
    assert cluster.id not in docker("volume", "ls", "-q")


def test_a_service_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    with running_service(tmp_path, lease_seconds="3") as first, Client(first.url) as client:
        cluster = client.create(image="bare", name="survivor")
        while "ssh/node01" not in client.get(cluster.id).endpoints:
            time.sleep(0.05)
        first.kill()
        before = docker("ps", "-q", "--filter", f"label=dayfly.cluster={cluster.id}").split()
        with running_service(tmp_path, instance=first.instance) as second, Client(second.url) as again:
            ready = again.wait_ready("survivor", timeout_seconds=300)
            assert ready.id == cluster.id
            after = docker("ps", "-q", "--filter", f"label=dayfly.cluster={cluster.id}").split()
            assert set(before) <= set(after)
            again.delete("survivor")
            again.wait_deleted("survivor")
            assert not second.objects()
