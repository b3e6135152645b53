"""A bake on a cloud image, for real: the image boots, is provisioned by Ansible over SSH, and becomes nodes.

The cloud image is the suite's own (mirror/cloud_image.py), its address is replaced by the settings. Ways to boot beside
`direct`: with --long. Not here: failures of such bakes, which a played machine shows (test_cloud_bake.py of the units).
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from dayfly.client import Client, Cluster
from dayfly.domain.image import Firmware
from tests.support.cloud_bakes import (
    assert_nothing_is_left,
    bake_recipe,
    cloud_mirror,
    created,
    images_removed,
    removed,
)
from tests.support.guest import FINGERPRINT, JUNK, on_guest, ready_template
from tests.support.images import manifest_of
from tests.support.mirror.entered import entered
from tests.support.service import docker, running_service

pytestmark = [pytest.mark.bake, pytest.mark.vm, pytest.mark.timeout(1900)]

READY_SECONDS: Final = 300
TEMPLATE_SECONDS: Final = 400
_IDENTITY: Final = "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub /root/.ssh/authorized_keys"
_LEFT_BY_THE_BAKE: Final = (
    "ls -d /var/lib/cloud /etc/netplan/*cloud-init* /etc/fstab.dayfly /root/.ansible 2>/dev/null || :"
)
_STARTED_BY: Final[dict[Firmware, str]] = {
    "direct": "grep -q rootflags=noatime /proc/cmdline && ! test -d /sys/firmware/efi",
    "bios": "grep -q BOOT_IMAGE=/boot/vmlinuz /proc/cmdline && ! test -d /sys/firmware/efi",
    "uefi": "grep -q BOOT_IMAGE=/boot/vmlinuz /proc/cmdline && test -d /sys/firmware/efi",
}
"""Kernel arguments of Dayfly, or GRUB's."""


@pytest.mark.parametrize(
    "firmware",
    [
        pytest.param("direct"),
        pytest.param("bios", marks=pytest.mark.long),
        pytest.param("uefi", marks=pytest.mark.long),
    ],
)
def test_a_cloud_image_becomes_nodes_that_fork_and_reset(tmp_path: Path, firmware: Firmware) -> None:
    recipe = f"test-cloud-{firmware}"
    with baked(recipe), running_service(tmp_path) as service, Client(service.url) as client:
        booted = created(client, recipe)
        assert booted.template is None
        assert_is_a_node(client, booted, firmware)
        identity = on_guest(client, booted.id, _IDENTITY)
        resets(client, booted)
        assert_is_a_node(client, booted, firmware)
        removed(client, booted)

        template = client.create_template(image=recipe)
        ready_template(client, template.id, seconds=TEMPLATE_SECONDS)
        began = time.monotonic()
        fork = created(client, recipe)
        print(f"{recipe}: the fork is ready after {time.monotonic() - began:.1f} s")
        assert fork.template == template.id, [(one.type, one.message) for one in client.all_events(fork.id)]
        assert_is_a_node(client, fork, firmware)
        assert not set(on_guest(client, fork.id, _IDENTITY).splitlines()) & set(identity.splitlines())
        resets(client, fork)
        hibernates(client, fork)
        removed(client, fork)
        client.delete_template(template.id)
        assert_nothing_is_left(service, recipe)


@contextmanager
def baked(recipe: str) -> Iterator[None]:
    """The image of the recipe, from the phases' cache where it is there; removed at the end."""
    began = time.monotonic()
    # Not pytest's temporary folder: that may be in memory.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder, entered(cloud_mirror(Path(folder))) as mirror:
        asyncio.run(bake_recipe(recipe, mirror, lambda _: None))
    print(f"{recipe}: baked within {time.monotonic() - began:.1f} s")
    with images_removed(recipe, f"machine-{recipe}"):
        assert_only_an_overlay(recipe)
        yield


def assert_only_an_overlay(recipe: str) -> None:
    """The node image is the machine image of its base with a layer: the overlay, and a kernel that is another one."""
    boot = manifest_of(f"dayfly/{recipe}:latest").boot
    assert boot is not None
    assert boot.firmware == recipe.removeprefix("test-cloud-")
    below = docker("images", "--format", "{{.Repository}}:{{.Tag}}", f"dayfly/machine-{recipe}").split()
    assert len(below) == 1
    layers = [
        docker("image", "inspect", "--format", '{{join .RootFS.Layers " "}}', reference).split()
        for reference in (f"dayfly/{recipe}:latest", *below)
    ]
    assert layers[0][:-1] == layers[1]
    files = docker("run", "--rm", "--entrypoint", "ls", f"dayfly/{recipe}:latest", "/dayfly").split()
    assert {"base.qcow2", "disk.qcow2"} <= set(files)
    assert not {"cidata.img", "key"} & set(files)


def assert_is_a_node(client: Client, cluster: Cluster, firmware: Firmware) -> None:
    on_guest(client, cluster.id, "systemctl is-system-running --wait || :")
    assert on_guest(client, cluster.id, "systemctl list-units --failed --plain --no-legend") == ""
    for command in (
        _STARTED_BY[firmware],
        'test "$(cat /etc/hostname)" = "$(hostname)"',
        "getent hosts registry",
        "test -e /etc/cloud/cloud-init.disabled",
        'test "$(nproc)" = 1',
    ):
        on_guest(client, cluster.id, command)
    assert on_guest(client, cluster.id, _LEFT_BY_THE_BAKE) == ""
    # The bake's disk has 8 GiB, the node's has 9.
    blocks, size = on_guest(client, cluster.id, "stat -f -c '%b %S' /").split()
    assert int(blocks) * int(size) > 8 << 30


def resets(client: Client, cluster: Cluster) -> None:
    pristine = on_guest(client, cluster.id, FINGERPRINT)
    assert on_guest(client, cluster.id, JUNK) == ""
    client.reset(cluster.id)
    client.wait_ready(cluster.id, timeout_seconds=READY_SECONDS)
    assert on_guest(client, cluster.id, FINGERPRINT) == pristine


def hibernates(client: Client, cluster: Cluster) -> None:
    on_guest(client, cluster.id, "echo kept > /run/kept")
    client.hibernate(cluster.id)
    client.wait_hibernated(cluster.id)
    client.resume(cluster.id)
    client.wait_ready(cluster.id, timeout_seconds=READY_SECONDS)
    assert on_guest(client, cluster.id, "cat /run/kept") == "kept"
