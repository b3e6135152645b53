"""QEMU's command line, read back as options and values: what the guest would get."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dayfly.domain import qemu

MACHINE = qemu.Machine(
    name="node03",
    accelerator="tcg",
    vcpus=3,
    memory_mib=768,
    kernel="/dayfly/vmlinuz",
    initrd="/dayfly/initrd",
    kernel_arguments=("quiet", "net.ifnames=0"),
    overlay="/var/lib/dayfly/disk.qcow2",
    tap="tap03",
    mac="52:55:00:d1:55:03",
)


def values(machine: qemu.Machine, option: str) -> list[str]:
    argv = qemu.command_line(machine)
    return [argv[i + 1] for i, word in enumerate(argv) if word == option]


def value(machine: qemu.Machine, option: str) -> str:
    (only,) = values(machine, option)
    return only


def device(machine: qemu.Machine, kind: str) -> dict[str, str]:
    (only,) = [v for v in values(machine, "-device") if v.split(",")[0] == kind]
    return dict(part.split("=", 1) for part in only.split(",")[1:])


def test_it_is_a_list_of_plain_words() -> None:
    argv = qemu.command_line(MACHINE)
    assert argv[0] == "qemu-system-x86_64"
    assert all(isinstance(word, str) and word for word in argv)


@pytest.mark.parametrize(("accelerator", "cpu"), [("kvm", "host"), ("tcg", "max")])
def test_the_cpu_model_goes_with_the_accelerator(accelerator: str, cpu: str) -> None:
    machine = replace(MACHINE, accelerator=accelerator)
    assert value(machine, "-accel").split(",")[0] == accelerator
    assert value(machine, "-cpu") == cpu
    assert value(machine, "-smp") == "3"


def test_memory_is_a_file_of_exactly_the_machines_size_that_the_machine_uses() -> None:
    (backend,) = [v for v in values(MACHINE, "-object") if v.startswith("memory-backend-file")]
    fields = dict(part.split("=", 1) for part in backend.split(",")[1:])
    assert fields["size"] == value(MACHINE, "-m") == "768M"
    assert fields["mem-path"].startswith("/ram/")
    assert fields["share"] == "on"
    assert f"memory-backend={fields['id']}" in value(MACHINE, "-machine")


def test_one_disk_whose_nodes_chain_up() -> None:
    file, image = (dict(p.split("=", 1) for p in v.split(",")) for v in values(MACHINE, "-blockdev"))
    assert file["filename"] == MACHINE.overlay
    assert image["file"] == file["node-name"]
    assert device(MACHINE, "virtio-blk-pci")["drive"] == image["node-name"]


def test_the_nic_has_the_nodes_mac_and_tap_and_runs_no_script() -> None:
    netdev = value(MACHINE, "-netdev")
    assert "ifname=tap03" in netdev
    assert "script=no" in netdev
    assert "downscript=no" in netdev
    nic = device(MACHINE, "virtio-net-pci")
    assert nic["mac"] == MACHINE.mac
    assert f"id={nic['netdev']}" in netdev


def test_the_console_outlives_the_machine_in_a_log_and_can_be_watched() -> None:
    (console,) = [v for v in values(MACHINE, "-chardev") if "id=console" in v]
    assert f"path={qemu.CONSOLE_SOCKET}" in console
    assert f"logfile={qemu.CONSOLE_LOG}" in console
    assert value(MACHINE, "-serial") == "chardev:console"
    assert "console=ttyS0" in value(MACHINE, "-append")


def test_every_chardev_that_is_named_exists() -> None:
    known = {part[3:] for v in values(MACHINE, "-chardev") for part in v.split(",") if part.startswith("id=")}
    argv = qemu.command_line(MACHINE)
    named = {p.split("=")[1] for word in argv for p in word.split(",") if p.startswith("chardev=")}
    named |= {word.removeprefix("chardev:") for word in argv if word.startswith("chardev:")}
    assert named == known == {"console", "agent", "qmp"}


def test_the_kernel_gets_the_images_arguments_and_short_cuts_only_under_emulation() -> None:
    emulated = value(MACHINE, "-append").split()
    real = value(replace(MACHINE, accelerator="kvm"), "-append").split()
    assert {"root=/dev/vda", "rw", "quiet", "net.ifnames=0"} <= set(real) <= set(emulated)
    assert "mitigations=off" in emulated
    assert "mitigations=off" not in real


def test_no_machine_reboots_behind_our_back_or_reads_a_users_configuration() -> None:
    argv = qemu.command_line(MACHINE)
    assert {"-no-reboot", "-nodefaults", "-no-user-config"} <= set(argv)
