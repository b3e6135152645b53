"""Every code of a failed cluster is produced here, with its evidence; a new code needs a test."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from dayfly import errors
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Hold
from dayfly.domain.cluster.network import LEASES, node_mac
from dayfly.drivers.interfaces import CommandResult
from dayfly.errors import DiskFull, EngineRefused, PortsExhausted
from dayfly.store import Store
from dayfly.testing.fakes import FakeEngine
from tests.support.specs import make_spec
from tests.support.world import World

ELSEWHERE = {
    "failure": "the branch itself",
    "database_unavailable": "an answer to a request (tests/api), a wait of a worker (test_worker.py)",
    "database_in_use": "a process that does not start: tests/store/test_sqlite_file.py",
    "engine_unavailable": "an answer to a request, a wait of a cluster: it fails none (test_recovery.py)",
    "issuer_unavailable": "an answer to a request: tests/oidc",
    "step_timeout": "takes real time: test_plan_runner.py",
    "internal": "our own defect: test_plan_runner.py",
    "secrets_key_missing": "a process that does not start, or waits: tests/store/test_secret_keys.py",
    "secrets_key_unusable": "a process that does not start: tests/unit/test_key_sources.py",
    "secret_damaged": "of no failure: the pass is tried again (tests/store/test_secret_keys.py)",
    "tls_unusable": "a process that does not start: tests/unit/cli/test_tls_commands.py",
    "saved_state_missing": "of no new cluster; memory that is lost costs a boot: test_hibernation.py",
    "saved_elsewhere": "of machines on KVM after their host changed: tests/unit/drivers/qemu/test_vm_kvm.py",
    "checkpoint_not_loaded": "of a cluster that is reset: test_checkpoints.py",
    "image_broken": "a bake's: tests/unit/images",
    "bake_failed": "a bake's: tests/unit/images",
    "base_fetch_failed": "a base's: tests/unit/images/cloud",
    "base_truncated": "a base's: tests/unit/images/cloud",
    "base_content_differs": "a base's: tests/unit/images/cloud",
    "base_signature_invalid": "a base's: tests/unit/images/cloud",
    "base_signature_expired": "a base's: tests/unit/images/cloud",
    "base_checksum_missing": "a base's: tests/unit/images/cloud",
    "not_a_disk_image": "a base's: tests/unit/images/cloud",
    "no_boot_loader": "a base's: tests/unit/images/cloud",
    "no_cloud_init": "a base's: tests/unit/images/cloud",
    "cloud_init_failed": "a bake's: tests/unit/images/cloud",
    "upstream_unavailable": "a bake's: tests/unit/images/test_package_index.py",
    "bake_interrupted": "a bake's: test_bakes.py",
    "not_removed": "of no failure: the deletion is tried again (test_cluster_lifecycle.py)",
    "registry_refused": "an image's push or pull: tests/unit/drivers",
    "addon_failed": "of a cluster with add-ons: test_addons.py",
    "addon_fetch_failed": "an operator's command: tests/unit/test_addon_fetch.py",
    "addon_content_differs": "an operator's command: tests/unit/test_addon_fetch.py",
    "conformance_failed": "of a cluster with a list of specs: test_conformance.py",
    "webhook_address_forbidden": "a webhook's call: test_webhooks.py",
    "webhook_unreachable": "a webhook's call: test_webhooks.py",
    "webhook_timeout": "a webhook's call: test_webhooks.py",
    "webhook_refused": "a webhook's call: test_webhooks.py",
    "webhook_not_http": "a webhook's call: test_webhooks.py",
    "webhook_tls_failed": "a webhook's call: tests/unit/drivers/webhooks",
    "command_failed": "a step's own: test_plan_runner.py",
}
"""Codes under Failure and InfrastructureError that no cluster fails with here, and where they are reached."""


def control_plane_fails(world: World) -> None:
    program(world, "control-plane", "kubeadm: no")


def join_fails(world: World) -> None:
    program(world, "join", "kubelet: no")


def no_pod_runs(world: World) -> None:
    world.kube.pods_fail("ImagePullBackOff")
    world.ssh.on("test -e", CommandResult(1, "", ""))


def program(world: World, name: str, words: str) -> None:
    world.ssh.on(f"/usr/lib/dayfly/{name}", CommandResult(1, words, ""))


def silent(world: World) -> None:
    world.ssh.never_answers()


def silent_with_an_address(world: World) -> None:
    world.ssh.never_answers()
    read_file = world.engine.read_file

    async def leases(name: str, path: str, *, tail_bytes: int) -> bytes:
        if path == LEASES:
            return f"0 {node_mac(1)} 192.168.66.101 node01 *\n0 {node_mac(2)} 192.168.66.102 node02 *\n".encode()
        return await read_file(name, path, tail_bytes=tail_bytes)

    world.engine.read_file = leases  # type: ignore[method-assign]


def vm_exits(world: World) -> None:
    world.engine.exits_at_start("node01", 1, "qemu: no")
    world.ssh.block("wait")


TRIGGERS: dict[str, Callable[[World], object]] = {
    "engine_refused": lambda world: world.engine.fail_always(EngineRefused("no"), "ensure"),
    "ports_exhausted": lambda world: world.engine.fail_always(PortsExhausted("none left"), "ensure"),
    "disk_full": lambda world: world.engine.fail_always(DiskFull("no space left on device"), "ensure"),
    "image_missing": lambda world: setattr(world.engine, "images", set()),
    "container_exited": lambda world: world.engine.exits_at_start("net", 1, "dnsmasq: failed"),
    "vm_exited": vm_exits,
    "dhcp_timeout": silent,
    "ssh_timeout": silent_with_an_address,
    "ssh_refused": lambda world: world.ssh.refuses(),
    "control_plane_init": control_plane_fails,
    "join": join_fails,
    "node_not_ready": lambda world: world.kube.not_ready("node02"),
    "not_usable": no_pod_runs,
}
"""The causes of a new cluster's failures."""

AFTERWARDS: dict[str, Callable[[FakeEngine, str], None]] = {
    "container_removed": lambda engine, cluster_id: engine.remove_by_hand(f"dayfly-{cluster_id}-node01"),
    "engine_restarted": lambda engine, _: engine.restart_engine(),
    "expired": lambda engine, _: None,
}
"""The causes of a ready cluster's failures, for a held cluster that must not restart and expires at once."""


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


@pytest.mark.parametrize("code", sorted(TRIGGERS))
async def test_a_new_cluster_fails_by_name(world: World, code: str) -> None:
    TRIGGERS[code](world)
    async with world.working():
        cluster = await world.create(make_spec(workers=1, kubernetes=True))
        failed = await world.until(cluster, Phase.FAILED, Phase.READY)
    assert failed.fault is not None
    assert failed.fault.code == code
    assert failed.fault.step is not None
    assert not world.engine.containers
    assert await world.store.clusters.evidence(cluster.id)


@pytest.mark.parametrize("code", sorted(AFTERWARDS))
async def test_a_ready_cluster_fails_by_name(world: World, code: str) -> None:
    update: dict[str, object] = {"restart": "never"}
    hold = None
    if code == "expired":
        update["ttl_seconds"] = 1
        hold = Hold(datetime.now(UTC) + timedelta(hours=1), "somebody looks at it", "stopped")
    async with world.working():
        cluster = await world.create(make_spec().model_copy(update=update), hold=hold)
        await world.until(cluster, Phase.READY, Phase.FAILED)
        AFTERWARDS[code](world.engine, cluster.id)
        failed = await world.until(cluster, Phase.FAILED)
    assert failed.fault is not None
    assert failed.fault.code == code
    assert await world.store.clusters.evidence(cluster.id)


def test_no_code_of_a_failure_is_left_out() -> None:
    known = [error for _, error in inspect.getmembers(errors, inspect.isclass)]
    codes = {error.code for error in known if issubclass(error, (errors.Failure, errors.InfrastructureError))}
    reached = {*TRIGGERS, *AFTERWARDS, *ELSEWHERE}
    assert codes - reached == set()
    assert reached - codes - {"image_missing", "failure"} == set()
