"""The lab stack as an operator runs it: docker-compose.yml, the images of deploy/docker, and a cluster."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dayfly.client import Client
from tests.support.lab import LabStack, build_images, lab_stack
from tests.support.service import docker

WORKERS = 2


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabStack]:
    build_images()
    with lab_stack(tmp_path_factory.mktemp("operator"), workers=WORKERS) as stack:
        yield stack
    assert stack.objects() == []


def inspect(ids: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(docker("inspect", *ids))
    return found


def everything(stack: LabStack) -> list[str]:
    return [container for service in ("api", "worker", "postgres") for container in stack.containers(service)]


def processes_of(container: str) -> list[Path]:
    """The /proc folders of everything that runs in a container."""
    pids = docker("top", container, "-eo", "pid").split()[1:]
    return [Path("/proc") / pid for pid in pids]


@pytest.mark.docker
def test_nothing_in_it_has_more_rights_than_it_needs(stack: LabStack) -> None:
    for service, network in {"api": "host", "worker": "host", "postgres": "none"}.items():
        containers = stack.containers(service)
        assert len(containers) == (WORKERS if service == "worker" else 1)
        for container in inspect(containers):
            config = container["HostConfig"]
            assert config["NetworkMode"] == network
            assert (config["Privileged"], config["ReadonlyRootfs"], config["CapDrop"]) == (False, True, ["ALL"])
            assert not config["PublishAllPorts"]
            for process in processes_of(container["Id"]):
                status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines())
                assert "0" not in status["Uid"].split()
                assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapBnd")} == {0}
                assert status["NoNewPrivs"] == "1"
            mounted = {mount["Destination"] for mount in container["Mounts"]}
            assert ("/var/run/docker.sock" in mounted) is (service != "postgres")


@pytest.mark.docker
def test_only_the_api_listens_and_only_on_loopback(stack: LabStack) -> None:
    pids = {process.name for container in everything(stack) for process in processes_of(container)}
    argv = ["ss", "--no-header", "--listening", "--tcp", "--numeric", "--processes"]
    listening = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30).stdout
    ours = [line.split()[3] for line in listening.splitlines() if any(f"pid={pid}," in line for pid in pids)]
    assert ours == [stack.url.removeprefix("http://")]


@pytest.mark.docker
def test_the_database_is_reached_without_a_password_and_by_nobody_else(stack: LabStack) -> None:
    (postgres,) = stack.containers("postgres")
    psql = ["exec", "--user", "8700", postgres, "psql", "--no-psqlrc", "--tuples-only", "--host=/run/postgresql"]
    asked = "--command=SELECT rolsuper FROM pg_roles WHERE rolname = 'dayfly'"
    assert docker(*psql, "--username=dayfly", asked, "dayfly").strip() == "f"
    for user, role in (("8700", "postgres"), ("999", "dayfly"), ("1234", "dayfly")):
        with pytest.raises(RuntimeError, match=r"Peer authentication failed|could not look up local user"):
            docker("exec", "--user", user, *psql[3:], f"--username={role}", "--command=SELECT 1", "dayfly")


@pytest.mark.docker
def test_the_api_is_healthy_and_nobody_was_started_twice(stack: LabStack) -> None:
    (api,) = stack.containers("api")
    deadline = time.monotonic() + 60
    while (state := inspect([api])[0]["State"]["Health"]["Status"]) == "starting":
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert state == "healthy"
    assert {container["RestartCount"] for container in inspect(everything(stack))} == {0}


@pytest.mark.docker
def test_requests_need_the_token_of_the_first_login(stack: LabStack) -> None:
    assert httpx.get(f"{stack.url}/v1/clusters", trust_env=False).status_code == 401
    assert stack.dayfly("cluster", "list").returncode == 0
    assert "operator-token" not in stack.compose("exec", "-T", "api", "ls")


@pytest.mark.vm
def test_a_cluster_is_made_through_it_outlives_its_restart_and_is_gone(
    stack: LabStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", stack.environment["XDG_CONFIG_HOME"])
    with Client(stack.url) as client:
        cluster = client.create(image="bare", name="lab")
        ready = client.wait_ready(cluster.id, timeout_seconds=300)
        assert str(ready.endpoints["ssh/node01"]).startswith("127.0.0.1:")
        assert hostname(stack) == "node01"

        stack.compose("stop")
        assert {container["State"]["ExitCode"] for container in inspect(everything(stack))} == {0}, stack.logs()
        stack.compose("start")
        stack.wait_until_ready()

        assert client.get("lab").phase == "ready"
        assert hostname(stack) == "node01"
        client.delete(cluster.id)
        client.wait_deleted(cluster.id)
    assert docker("ps", "--all", "--quiet", "--filter", f"label=dayfly.instance={stack.instance}") == ""


def hostname(stack: LabStack) -> str:
    """The host name of the first node of the cluster `lab`, over SSH."""
    done = stack.dayfly("cluster", "ssh", "lab", "node01", "--", "hostname")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
