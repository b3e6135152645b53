"""A bake on a cloud image as a whole, with a played machine: its phases, its image, its failures."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dayfly.domain.bake_addresses import BakeAddresses
from dayfly.drivers.interfaces import CommandResult
from dayfly.errors import (
    BakeFailed,
    BaseContentDiffers,
    CloudInitFailed,
    DayflyError,
    EngineUnavailable,
    InvalidRequest,
    NoBootLoader,
    NoCloudInit,
    SshRefused,
    SshTimeout,
    VmExited,
)
from dayfly.images.cloud.machine_command import DISK_PATH, SEED_PATH, SSH_PORT
from tests.support.disk_images import CLOUD_FILES, ROOT_UUID, DiskImage, run
from tests.support.played_cloud_bakes import MACHINE, Kitchen, make_kitchen


@pytest.fixture
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kitchen]:
    kitchen = make_kitchen(tmp_path, monkeypatch)
    yield kitchen
    kitchen.assert_nothing_left()


async def test_the_image_has_an_overlay_over_the_untouched_image(kitchen: Kitchen, tmp_path: Path) -> None:
    await kitchen.bake()
    manifest = await kitchen.manifest()
    assert manifest.boot is not None
    assert (manifest.boot.firmware, manifest.boot.root) == ("direct", f"PARTUUID={ROOT_UUID}")
    files = await kitchen.files()
    assert files["/dayfly/base.qcow2"] == kitchen.image.read_bytes()
    assert files["/dayfly/vmlinuz"] == b"new kernel"
    assert files["/dayfly/initrd"] == b"new initrd"
    disk = tmp_path / "out" / "disk.qcow2"
    disk.parent.mkdir()
    disk.write_bytes(files["/dayfly/disk.qcow2"])
    (disk.parent / "base.qcow2").write_bytes(files["/dayfly/base.qcow2"])
    information = json.loads(run("qemu-img", "info", "--output=json", disk))
    assert (information["virtual-size"], information["backing-filename"]) == (1 << 30, "base.qcow2")
    assert "/dayfly/cidata.img" not in files


async def test_the_machine_boots_by_its_own_loader_with_the_seed_and_no_capability(kitchen: Kitchen) -> None:
    seen = []

    def look(*_: object) -> CommandResult:
        seen.append(kitchen.engine.containers[MACHINE])
        return CommandResult(0, "", "")

    kitchen.ssh.on("cloud-init", look)
    await kitchen.bake()
    (machine,) = seen
    command = " ".join(machine.spec.command)
    assert "-kernel" not in command
    assert (machine.spec.capabilities, machine.spec.joins, machine.spec.ports) == ((), None, (SSH_PORT,))
    assert machine.spec.devices == ("/dev/kvm",)
    assert {SEED_PATH, DISK_PATH} <= machine.files.keys()
    assert "PRIVATE KEY" not in command
    image = await kitchen.images.inspect("dayfly/lab:latest")
    assert machine.spec.image != image.id
    assert kitchen.probed == [machine.spec.image]


async def test_the_order_of_work_in_the_guest(kitchen: Kitchen) -> None:
    await kitchen.bake()
    commands = [command for _, command in kitchen.ssh.commands]
    assert [" ".join(command.split()[:2]) for command in commands] == [
        *("cloud-init status", "sh -s", "command -v", "sh -s", "sh -s", "systemctl poweroff")
    ]
    (files,) = kitchen.ssh.files.values()
    assert files["/usr/lib/dayfly/seed"].mode == 0o755
    assert kitchen.plays == [(["bare.yaml"], kitchen.plays[0][1])]
    assert kitchen.plays[0][1]["recipe_name"] == "lab"


async def test_missing_programs_and_packages_of_the_recipe_are_installed_around_its_play(kitchen: Kitchen) -> None:
    kitchen.ssh.on("command -v", CommandResult(1, "", ""))
    await kitchen.bake()
    names, variables = kitchen.plays[0]
    assert names == ["before.yaml", "bare.yaml", "after.yaml"]
    assert "qemu-guest-agent" in variables["cloud_packages"]
    kitchen.ssh.on("command -v", CommandResult(0, "", ""))
    kitchen.write_recipe(packages=["tcpdump"])
    await kitchen.bake()
    assert "tcpdump" in kitchen.plays[1][1]["cloud_packages"]


async def test_the_second_bake_is_from_the_cache(kitchen: Kitchen) -> None:
    await kitchen.bake()
    kitchen.images.stored.clear()
    kitchen.images.files.clear()
    kitchen.ssh.commands.clear()
    await kitchen.bake()
    assert kitchen.ssh.commands == []
    assert (await kitchen.files())["/dayfly/base.qcow2"] == kitchen.image.read_bytes()
    assert [kitchen.states(phase)[-1] for phase in ("toolbox", "inspect", "node")] == ["cached"] * 3


async def test_two_recipes_share_the_machine_image(kitchen: Kitchen) -> None:
    await kitchen.bake()
    kitchen.write_recipe(verify=["true"])
    await kitchen.bake()
    assert kitchen.states("machine image")[-1] == "cached"


@pytest.mark.parametrize("boot", ["bios", "uefi"])
async def test_an_image_with_its_own_boot_loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boot: str) -> None:
    kitchen = make_kitchen(tmp_path, monkeypatch, boot=boot)
    await kitchen.bake()
    manifest, files = await kitchen.manifest(), await kitchen.files()
    assert manifest.boot is not None
    assert (manifest.boot.firmware, manifest.boot.root) == (boot, "/dev/vda")
    # The kernel is there for the test of KVM, which boots one of the image.
    assert {"/dayfly/vmlinuz", "/dayfly/base.qcow2"} <= files.keys()
    wanted = {"/dayfly/firmware.fd": b"OVMF_CODE_4M.fd", "/dayfly/variables.fd": b"OVMF_VARS_4M.fd"}
    firmware = {name: content for name, content in files.items() if name.endswith(".fd")}
    assert firmware == (wanted if boot == "uefi" else {})
    assert ("ovmf" in kitchen.made) == (boot == "uefi")
    kitchen.assert_nothing_left()


async def test_an_image_whose_kernel_cannot_be_read_is_emulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kitchen = make_kitchen(tmp_path, monkeypatch, image=DiskImage(file_system="xfs"), boot="bios")
    await kitchen.bake()
    assert kitchen.probed == []
    assert "/dayfly/vmlinuz" not in await kitchen.files()


@pytest.mark.parametrize(
    ("image", "error"),
    [
        (DiskImage(boot_code=False), NoBootLoader),
        (DiskImage(files={path: text for path, text in CLOUD_FILES.items() if "cloud-init" not in path}), NoCloudInit),
    ],
)
async def test_an_image_that_cannot_become_a_node_is_refused_before_a_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: DiskImage, error: type[DayflyError]
) -> None:
    kitchen = make_kitchen(tmp_path, monkeypatch, image=image, boot="bios")
    with pytest.raises(error, match="phase inspect"):
        await kitchen.bake()
    assert kitchen.engine.created == []
    kitchen.assert_nothing_left()


async def test_another_content_is_refused(kitchen: Kitchen) -> None:
    with kitchen.image.open("ab") as file:
        file.write(b"x")
    with pytest.raises(BaseContentDiffers, match="phase cloud image"):
        await kitchen.bake()


async def test_a_guest_that_does_not_answer_fails_with_its_console(kitchen: Kitchen) -> None:
    kitchen.ssh.never_answers()
    with pytest.raises(SshTimeout, match="phase node"):
        await kitchen.bake()
    kitchen.ssh.answers()
    await kitchen.bake()


async def test_another_host_key_fails(kitchen: Kitchen) -> None:
    kitchen.ssh.refuses()
    with pytest.raises(SshRefused, match="phase node"):
        await kitchen.bake()


async def test_a_machine_that_ends_at_once_says_why(kitchen: Kitchen) -> None:
    kitchen.engine.exits_at_start("net", 1, "qemu-system-x86_64: no such device\n")
    with pytest.raises(VmExited, match="phase node: the machine of the bake ended at once") as caught:
        await kitchen.bake()
    assert "no such device" in caught.value.evidence["qemu"]


async def test_a_machine_that_ends_during_the_play_ends_the_bake(kitchen: Kitchen) -> None:
    kitchen.hang = "play"
    bake = asyncio.create_task(kitchen.bake())
    await kitchen.hanging.wait()
    kitchen.engine.containers[MACHINE].files["/var/log/dayfly/console.log"] = b"Kernel panic"
    kitchen.engine.exit(MACHINE, 1, "qemu: terminated\n")
    with pytest.raises(VmExited, match="ended with exit code 1: qemu: terminated") as caught:
        await bake
    assert caught.value.evidence["console"] == "Kernel panic"


async def test_cloud_init_that_fails_is_named_with_its_log(kitchen: Kitchen) -> None:
    kitchen.ssh.on("cloud-init status", CommandResult(1, "status: error\n", ""))
    kitchen.ssh.on("tail", CommandResult(0, "no datasource\n", ""))
    with pytest.raises(CloudInitFailed, match="phase node: cloud-init failed") as caught:
        await kitchen.bake()
    assert caught.value.evidence["status"] == "status: error\n"
    assert caught.value.evidence["cloud_init"] == "no datasource\n"


async def test_cloud_init_with_warnings_is_enough(kitchen: Kitchen) -> None:
    kitchen.ssh.on("cloud-init status", CommandResult(2, "status: done\n", ""))
    await kitchen.bake()


async def test_a_play_that_fails_is_named_and_the_next_bake_goes_on(kitchen: Kitchen) -> None:
    kitchen.fail["play"] = BakeFailed("ansible-playbook ended with exit code 2", evidence={"output": "a task failed"})
    with pytest.raises(BakeFailed, match="phase node: ansible-playbook ended") as caught:
        await kitchen.bake()
    assert caught.value.evidence["output"] == "a task failed"
    kitchen.assert_nothing_left()
    await kitchen.bake()
    assert kitchen.states("inspect")[-1] == "cached"


async def test_a_script_that_fails_has_its_output(kitchen: Kitchen) -> None:
    kitchen.ssh.on("sh -s", CommandResult(1, "", "the image has neither\n"))
    with pytest.raises(BakeFailed, match="phase node: cloud/start ended with exit code 1") as caught:
        await kitchen.bake()
    assert caught.value.evidence["output"] == "the image has neither\n"


async def test_a_machine_that_does_not_end_cleanly_gives_no_image(kitchen: Kitchen) -> None:
    def fail(*_: object) -> CommandResult:
        kitchen.engine.exit(MACHINE, 1, "block I/O error\n")
        return CommandResult(0, "", "")

    kitchen.ssh.on("poweroff", fail)
    with pytest.raises(VmExited, match="block I/O error"):
        await kitchen.bake()


@pytest.mark.parametrize("method", ["ensure", "endpoints", "copy_out"])
async def test_an_engine_that_goes_away_is_named(kitchen: Kitchen, method: str) -> None:
    kitchen.engine.fail_next(method, EngineUnavailable("no answer"))
    with pytest.raises(EngineUnavailable, match="phase node: no answer"):
        await kitchen.bake()


async def test_a_cancelled_bake_leaves_no_machine(kitchen: Kitchen) -> None:
    kitchen.hang = "play"
    bake = asyncio.create_task(kitchen.bake())
    await kitchen.hanging.wait()
    assert MACHINE in kitchen.engine.containers
    bake.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bake
    kitchen.assert_nothing_left()
    kitchen.hang = ""
    await kitchen.bake()


async def test_the_machine_of_a_killed_bake_is_removed_first(kitchen: Kitchen) -> None:
    labels = {"dayfly.cluster": "verify-lab", "dayfly.role": "net", "dayfly.instance": "default"}
    kitchen.engine.plant("container", MACHINE, labels)
    planted = kitchen.engine.containers[MACHINE].id
    await kitchen.bake()
    assert planted
    assert kitchen.engine.removed.count(MACHINE) == 2


async def test_a_mirror_replaces_the_address(kitchen: Kitchen) -> None:
    upstream = "https://images.example.invalid/disk.qcow2"
    base = kitchen.root / "base" / "cloud.yaml"
    base.write_text(base.read_text().replace(kitchen.image.as_uri(), upstream))
    kitchen.addresses = BakeAddresses(downloads=((upstream, kitchen.image.as_uri()),))
    await kitchen.bake()


@pytest.mark.parametrize(
    ("recipe", "base", "message"),
    [
        ({"artifacts": {"a": {"script": "layers/build-writeboost.sh"}}}, {}, "its artifacts are built in a root"),
        ({"finish": ["kubernetes/import-images"]}, {}, "its scripts .finish. run in a root file system"),
        ({"kernel_arguments": ["a=b"]}, {"boot": "bios"}, "its kernel arguments have no effect"),
        ({}, {"family": "zypper"}, "the roles know the families apt and dnf"),
        ({"disk_gib": 1, "packages": ["no-such"]}, {"family": "dnf"}, "has no name of the package no-such for dnf"),
    ],
)
async def test_a_recipe_that_does_not_fit_is_refused(
    kitchen: Kitchen, recipe: dict[str, object], base: dict[str, str], message: str
) -> None:
    kitchen.write_recipe(**recipe)
    kitchen.write_base(**({"boot": "direct"} | base))
    with pytest.raises(InvalidRequest, match=message):
        await kitchen.bake()
    assert kitchen.engine.created == []
