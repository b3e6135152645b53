"""Clusters from saved machines, on real machines: forks, resets, checkpoints, hibernation, pools."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from dayfly.client import ApiError, Client, Cluster, PortRequest, Template
from tests.support.guest import FINGERPRINT, JUNK, filled_pool, on_guest, ready_template, try_on_guest, until
from tests.support.service import Service, docker, running_service

pytestmark = pytest.mark.vm

TEMPLATE_SECONDS = 300
READY_SECONDS = 180
FORKS = 5
RESETS = {False: 2, True: 20}
"""In a row: without and with `--long`."""
CLOCK_SECONDS = 1.0
STOPPED_SECONDS = 30
_COUNT = """\
nohup sh -c 'exec 3>/root/count; i=0; while :; do i=$((i+1)); echo $i >&3; sleep 0.1; done' >/dev/null 2>&1 </dev/null &
echo $!"""
"""It holds its file open, and has its number in its memory only."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of this module's own: at its end, and that of its template, nothing may be left."""
    with running_service(tmp_path_factory.mktemp("forks"), survey_seconds="5") as service:
        yield service
        with Client(service.url) as client:
            for template in client.templates():
                client.delete_template(template.id)
        deadline = time.monotonic() + 120
        while service.objects():
            assert time.monotonic() < deadline, service.objects()
            time.sleep(1)


@pytest.fixture(scope="module")
def template(service: Service) -> Template:
    with Client(service.url) as client:
        asked = client.create_template(image="bare")
        made = ready_template(client, asked.id, seconds=TEMPLATE_SECONDS)
    assert made.ready_at is not None
    print(f"template: {(made.ready_at - made.created_at).total_seconds():.1f} s, {made.size_bytes >> 20} MiB")
    return made


@contextlib.contextmanager
def clusters(
    client: Client, number: int = 1, *, isolation: str | None = None, ports: Sequence[PortRequest] = ()
) -> Iterator[list[Cluster]]:
    """So many at once, ready; and gone afterwards."""
    asked = [client.create(image="bare", isolation=isolation, ports=ports) for _ in range(number)]
    try:
        yield [client.wait_ready(one.id, timeout_seconds=READY_SECONDS) for one in asked]
    finally:
        for one in asked:
            with contextlib.suppress(ApiError):
                client.delete(one.id)
                client.wait_deleted(one.id)


def proportional_mib(client: Client, cluster: str) -> float:
    """PSS of its machines."""
    found = [node.memory for node in client.nodes(cluster)]
    return sum(memory.proportional_bytes for memory in found if memory is not None) / 2**20


def clock_error(client: Client, cluster: str) -> float:
    """By how many seconds a guest's clock is wrong, at least."""
    before = time.time()
    guest = float(on_guest(client, cluster, "date +%s.%N"))
    return max(before - guest, guest - time.time(), 0.0)


def assert_forked(client: Client, cluster: Cluster, template: Template) -> None:
    events = client.all_events(cluster.id)
    assert cluster.template == template.id, [(event.type, event.message) for event in events]
    assert "cluster.fallback" not in {event.type for event in events}


def test_five_forks_at_once_are_five_clusters(client: Client, template: Template) -> None:
    with clusters(client, isolation="strict") as [booted]:
        assert booted.template is None
        on_guest(client, booted.id, "true")
        booted_mib = proportional_mib(client, booted.id)
    began = time.monotonic()
    with clusters(client, FORKS) as forks:
        print(f"{FORKS} forks: all ready after {time.monotonic() - began:.1f} s")
        for fork in forks:
            assert_forked(client, fork, template)
            assert clock_error(client, fork.id) < CLOCK_SECONDS
        print(f"{FORKS} forks: a command has run on each after {time.monotonic() - began:.1f} s")
        forks_mib = sum(proportional_mib(client, fork.id) for fork in forks)
        print(f"{FORKS} forks: {forks_mib:.0f} MiB; one booted: {booted_mib:.0f} MiB")
        assert forks_mib <= FORKS * booted_mib / 2
        each = "cat /root/.ssh/authorized_keys", "cat /etc/ssh/ssh_host_*_key.pub", "cat /etc/machine-id"
        for command in (*each, "head -c 32 /dev/urandom | od -An -tx1"):
            assert len({on_guest(client, fork.id, command) for fork in forks}) == FORKS, command
        assert_strangers(client, forks)


def assert_strangers(client: Client, forks: Sequence[Cluster]) -> None:
    """A file in one fork does not appear in another, and one fork's key does not open another."""
    on_guest(client, forks[0].id, "echo mark >/root/mark")
    assert on_guest(client, forks[1].id, "ls /root") == ""
    mine, theirs = client.ssh(forks[0].id), client.ssh(forks[1].id)
    intruder = theirs.model_copy(update={"private_key": mine.private_key})
    refused = try_on_guest(intruder, "true")
    assert refused.returncode == 255
    assert "Permission denied" in refused.stderr
    impostor = mine.model_copy(update={"port": theirs.port, "private_key": theirs.private_key})
    known = impostor.known_hosts.replace(f":{mine.port}", f":{theirs.port}")
    unverified = try_on_guest(impostor.model_copy(update={"known_hosts": known}), "true")
    assert "verification failed" in unverified.stderr, "it shows a host key of its own"


def test_resets_in_a_row_with_junk_in_between(service: Service, client: Client, template: Template, long: bool) -> None:
    with clusters(client) as [cluster]:
        pristine = on_guest(client, cluster.id, FINGERPRINT)
        access, objects = client.ssh(cluster.id), service.objects()
        seconds = []
        for number in range(RESETS[long]):
            assert on_guest(client, cluster.id, JUNK) == ""
            began = time.monotonic()
            assert client.reset(cluster.id).generation == cluster.generation + number + 1
            back = client.wait_ready(cluster.id, timeout_seconds=READY_SECONDS)
            assert on_guest(client, cluster.id, FINGERPRINT) == pristine
            seconds.append(time.monotonic() - began)
            assert back.generation == cluster.generation + number + 1
            assert (back.endpoints, client.ssh(cluster.id)) == (cluster.endpoints, access)
        print(f"{len(seconds)} resets: {min(seconds):.1f} to {max(seconds):.1f} s each")
        assert service.objects() == objects
        assert clock_error(client, cluster.id) < CLOCK_SECONDS


@pytest.mark.parametrize("isolation", ["strict", "shared"])
def test_a_published_port_leads_to_its_node_from_nothing_and_in_a_fork(
    client: Client, template: Template, isolation: str
) -> None:
    with clusters(client, isolation=isolation, ports=[PortRequest(name="web", port=8080)]) as [cluster]:
        assert cluster.template == (None if isolation == "strict" else template.id)
        assert served(client, cluster, "first") == "first"
        client.reset(cluster.id)
        back = client.wait_ready(cluster.id, timeout_seconds=READY_SECONDS)
        assert back.endpoints == cluster.endpoints
        assert served(client, back, "again") == "again"


def served(client: Client, cluster: Cluster, text: str) -> str:
    """The host's answer from the published port of a web server that serves `text` on the node."""
    serve = "/bin/busybox httpd -p 8080 -h /srv/www </dev/null >/dev/null 2>&1"
    on_guest(client, cluster.id, f"mkdir -p /srv/www; echo {text} >/srv/www/index.html; {serve}")
    answer = httpx.get(f"http://{cluster.endpoints['ports/web']}/index.html", trust_env=False, timeout=30)
    return answer.text.strip()


def test_a_checkpoint_is_where_it_goes_back_to(client: Client, template: Template) -> None:
    with clusters(client) as [cluster]:
        counter = on_guest(client, cluster.id, _COUNT)
        client.create_checkpoint(cluster.id, "before")
        until(
            "the checkpoint is made",
            lambda: client.checkpoint(cluster.id, "before").phase == "ready" or None,
            seconds=READY_SECONDS,
        )
        assert clock_error(client, cluster.id) < CLOCK_SECONDS
        assert_counts(client, cluster.id)
        on_guest(client, cluster.id, f"kill {counter}; rm /root/count; echo junk >/root/junk")
        # Twice: what guests draw at random, names and secrets among it, is no part of what comes back.
        drawn = set()
        for _ in range(2):
            client.reset(cluster.id, checkpoint="before")
            client.wait_ready(cluster.id, timeout_seconds=READY_SECONDS)
            drawn.add(on_guest(client, cluster.id, "od -An -N16 -tx1 /dev/urandom"))
        assert len(drawn) == 2
        assert on_guest(client, cluster.id, "ls /root") == "count"
        on_guest(client, cluster.id, f"kill -0 {counter}")
        assert_counts(client, cluster.id)
        assert clock_error(client, cluster.id) < CLOCK_SECONDS
        client.delete_checkpoint(cluster.id, "before")


def assert_counts(client: Client, cluster: str) -> None:
    """The counter runs, and what it writes arrives in its file."""
    look = "tail -n 1 /root/count"
    before, after = on_guest(client, cluster, f"{look}; sleep 1; {look}").split()
    assert int(before) < int(after)


def test_a_hibernated_cluster_outlives_its_service(tmp_path: Path) -> None:
    with running_service(tmp_path) as service, Client(service.url) as client:
        cluster = client.wait_ready(client.create("sleeper", image="bare").id, timeout_seconds=READY_SECONDS)
        counter = on_guest(client, cluster.id, _COUNT)
        boot, access = on_guest(client, cluster.id, "cat /proc/sys/kernel/random/boot_id"), client.ssh(cluster.id)
        counted = int(on_guest(client, cluster.id, "sleep 1; tail -n 1 /root/count"))
        began = time.monotonic()
        client.hibernate(cluster.id)
        client.wait_hibernated(cluster.id)
        print(f"hibernated after {time.monotonic() - began:.1f} s")
        until("nothing of it runs", lambda: not running_containers(cluster) or None, seconds=STOPPED_SECONDS)
        service.restart("serve")
        assert client.get(cluster.id).phase == "hibernated"
        began = time.monotonic()
        client.resume(cluster.id)
        back = client.wait_ready(cluster.id, timeout_seconds=READY_SECONDS)
        assert int(on_guest(client, cluster.id, "tail -n 1 /root/count")) > counted
        print(f"resumed, with a command run, after {time.monotonic() - began:.1f} s")
        assert (back.endpoints, client.ssh(cluster.id)) == (cluster.endpoints, access)
        assert on_guest(client, cluster.id, "cat /proc/sys/kernel/random/boot_id") == boot
        on_guest(client, cluster.id, f"kill -0 {counter}")
        assert_counts(client, cluster.id)
        assert clock_error(client, cluster.id) < CLOCK_SECONDS
        client.delete(cluster.id)
        client.wait_deleted(cluster.id)
        assert not service.objects()


def running_containers(cluster: Cluster) -> list[str]:
    return docker("ps", "-q", "--filter", f"label=dayfly.cluster={cluster.id}").split()


def test_a_claim_goes_on_with_the_machines_that_waited(client: Client, template: Template) -> None:
    client.create_pool("warm", image="bare", size=1)
    try:
        filled_pool(client, "warm", 1, seconds=READY_SECONDS)
        (member,) = (one for one in client.list(purposes=["pool_member"]) if one.phase == "ready")
        waiting, idle = machine_processes(member.id), machine_ticks(member.id)
        time.sleep(1)
        assert machine_ticks(member.id) == idle, "it waits at zero CPU"
        began = time.monotonic()
        mine = client.create("mine", image="bare")
        print(f"claimed: answered after {(time.monotonic() - began) * 1000:.0f} ms")
        assert (mine.id, mine.phase, mine.name, mine.purpose) == (member.id, "pending", "mine", "cluster")
        mine = client.wait_ready(mine.id, timeout_seconds=READY_SECONDS)
        on_guest(client, mine.id, "true")
        print(f"claimed: a command has run after {time.monotonic() - began:.2f} s")
        # It is quick because no machine starts or is loaded; how quick, tests/bench/template.py measures.
        assert machine_processes(mine.id) == waiting
        assert_forked(client, mine, template)
        # The host key that it answers with is of the claim, as is the key that it lets in.
        assert on_guest(client, mine.id, "cat /run/dayfly-identity").startswith(client.ssh(mine.id).host_key)
        assert clock_error(client, mine.id) < CLOCK_SECONDS
        assert abs((mine.created_at - datetime.now(UTC)).total_seconds()) < READY_SECONDS
        filled_pool(client, "warm", 1, seconds=READY_SECONDS)
    finally:
        client.delete_pool("warm")
        for one in client.list():
            client.delete(one.id)
            client.wait_deleted(one.id)


def machine_processes(cluster_id: str) -> list[tuple[int, int]]:
    """Its machines' processes: pid, and when it started, in the kernel's ticks since the host's start."""
    return [(pid, int(fields[19])) for pid, fields in machine_stats(cluster_id)]


def machine_ticks(cluster_id: str) -> list[int]:
    """The CPU time of its machines' processes, in the kernel's ticks."""
    return [int(fields[11]) + int(fields[12]) for _, fields in machine_stats(cluster_id)]


def machine_stats(cluster_id: str) -> list[tuple[int, list[str]]]:
    """Of each of its machines' processes the pid, and the fields of /proc/PID/stat from the third on (proc(5))."""
    label = f"label=dayfly.cluster={cluster_id}"
    nodes = docker("ps", "-q", "--filter", label, "--filter", "label=dayfly.role=node").split()
    found = [int(one["State"]["Pid"]) for one in json.loads(docker("inspect", *nodes))]
    return [(pid, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()) for pid in found]
