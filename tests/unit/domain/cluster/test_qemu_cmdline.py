"""QEMU's command line, parsed back to options and values: the guest's hardware."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from dayfly.domain.cluster import qemu_cmdline
from dayfly.domain.cluster.timeouts import Accelerator
from dayfly.domain.image import Boot, Firmware

MACHINE = qemu_cmdline.Machine(
    name="node03",
    accelerator="tcg",
    vcpus=3,
    memory_mib=768,
    kernel="/dayfly/vmlinuz",
    initrd="/dayfly/initrd",
    kernel_arguments=("quiet", "net.ifnames=0"),
    tap="tap03",
    mac="52:55:00:d1:55:03",
)


def values(machine: qemu_cmdline.Machine, option: str) -> list[str]:
    return values_in(qemu_cmdline.boot(machine), option)


def values_in(start: qemu_cmdline.Start, option: str) -> list[str]:
    argv = start.command
    return [argv[i + 1] for i, word in enumerate(argv) if word == option]


def value(machine: qemu_cmdline.Machine, option: str) -> str:
    (only,) = values(machine, option)
    return only


def device(machine: qemu_cmdline.Machine, kind: str) -> dict[str, str]:
    (only,) = [v for v in values(machine, "-device") if v.split(",")[0] == kind]
    return dict(part.split("=", 1) for part in only.split(",")[1:])


def test_it_is_a_list_of_plain_words() -> None:
    argv = qemu_cmdline.boot(MACHINE).command
    assert argv[0] == "qemu-system-x86_64"
    assert all(isinstance(word, str) and word for word in argv)


@pytest.mark.parametrize(("accelerator", "cpu"), [("kvm", "host"), ("tcg", "max")])
def test_the_cpu_model_goes_with_the_accelerator(accelerator: Accelerator, cpu: str) -> None:
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
    assert file["filename"] == qemu_cmdline.OVERLAY
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
    assert f"path={qemu_cmdline.CONSOLE_SOCKET}" in console
    assert f"logfile={qemu_cmdline.CONSOLE_LOG}" in console
    assert value(MACHINE, "-serial") == "chardev:console"
    assert "console=ttyS0" in value(MACHINE, "-append")


def test_every_chardev_that_is_named_exists() -> None:
    known = {part[3:] for v in values(MACHINE, "-chardev") for part in v.split(",") if part.startswith("id=")}
    argv = qemu_cmdline.boot(MACHINE).command
    named = {p.split("=")[1] for word in argv for p in word.split(",") if p.startswith("chardev=")}
    named |= {word.removeprefix("chardev:") for word in argv if word.startswith("chardev:")}
    assert named == known == {"console", "agent", "qmp"}


def test_the_kernel_gets_the_images_arguments_and_short_cuts_only_under_emulation() -> None:
    emulated = value(MACHINE, "-append").split()
    real = value(replace(MACHINE, accelerator="kvm"), "-append").split()
    assert {"root=/dev/vda", "rw", "quiet", "net.ifnames=0"} <= set(real) <= set(emulated)
    for argument in ("mitigations=off", "highres=off"):
        assert argument in emulated
        assert argument not in real


def test_no_machine_reboots_behind_our_back_or_reads_a_users_configuration() -> None:
    argv = qemu_cmdline.boot(MACHINE).command
    assert {"-no-reboot", "-nodefaults", "-no-user-config"} <= set(argv)


FOLDER = "/template/node03"
STARTS = {
    "boot": qemu_cmdline.boot(MACHINE),
    "fork": qemu_cmdline.fork(MACHINE, FOLDER),
    "checkpoint": qemu_cmdline.restore(MACHINE, FOLDER, keep_disk=False),
    "hibernation": qemu_cmdline.restore(MACHINE, FOLDER, keep_disk=True),
}


def backend(start: qemu_cmdline.Start) -> dict[str, str]:
    (only,) = [v for v in values_in(start, "-object") if v.startswith("memory-backend-file")]
    return dict(part.split("=", 1) for part in only.split(",")[1:])


@pytest.mark.parametrize("kind", ["fork", "checkpoint", "hibernation"])
def test_a_saved_machine_starts_as_the_one_it_was_but_for_its_memory(kind: str) -> None:
    booted, started = STARTS["boot"].command, STARTS[kind].command
    assert started[-3:] == ("-S", "-incoming", "defer")
    assert not {"-S", "-incoming"} & set(booted)
    # All devices and their order: a saved state loads only into the same machine.
    different = [pair for pair in zip(booted, started, strict=False) if pair[0] != pair[1]]
    kinds = [{word.split(",")[0] for word in pair} for pair in different]
    assert kinds == [{"memory-backend-file"}] * (kind == "fork") + [{"name=opt/dayfly/seed"}]
    assert len(started) == len(booted) + 3
    assert backend(STARTS[kind])["size"] == backend(STARTS["boot"])["size"]


def test_a_fork_maps_its_templates_memory_and_never_writes_it() -> None:
    memory = backend(STARTS["fork"])
    assert memory["mem-path"] == f"{FOLDER}/{qemu_cmdline.RAM}"
    assert (memory["share"], memory["readonly"], memory["rom"]) == ("off", "on", "off")


@pytest.mark.parametrize("kind", ["boot", "checkpoint", "hibernation"])
def test_all_others_have_memory_of_their_own_that_can_be_shared_with_forks(kind: str) -> None:
    assert backend(STARTS[kind]) == backend(STARTS["boot"])
    assert backend(STARTS[kind])["share"] == "on"


@pytest.mark.parametrize(
    ("kind", "disk"),
    [
        ("boot", "keep"),
        ("fork", f"over {FOLDER}/disk.qcow2"),
        ("checkpoint", f"copy {FOLDER}/disk.qcow2"),
        ("hibernation", "keep"),
    ],
)
def test_what_becomes_of_the_disk(kind: str, disk: str) -> None:
    assert STARTS[kind].disk == disk


def test_a_start_file_is_the_disk_and_then_an_argument_a_line() -> None:
    first, *rest = qemu_cmdline.start_file(STARTS["fork"]).decode().splitlines()
    assert (first, tuple(rest)) == (STARTS["fork"].disk, STARTS["fork"].command)
    assert all("\n" not in word for word in rest)


def test_every_start_tells_the_guest_that_it_is_another() -> None:
    assert all("vmgenid,guid=auto" in values_in(start, "-device") for start in STARTS.values())


def booted_by(firmware: Firmware, root: str = "/dev/vda") -> qemu_cmdline.Machine:
    return replace(MACHINE, boot=Boot(firmware=firmware, root=root))


def test_the_command_line_of_images_without_boot_is_that_of_older_releases() -> None:
    """Templates of these images are loaded only into the same machine."""
    assert qemu_cmdline.boot(booted_by("direct")).command == qemu_cmdline.boot(MACHINE).command
    assert " ".join(qemu_cmdline.boot(MACHINE).command) == (
        "qemu-system-x86_64 -name node03 -no-user-config -nodefaults -no-reboot -display none "
        "-machine q35,usb=off,vmport=off,smm=off,memory-backend=ram0 "
        "-accel tcg,thread=multi,tb-size=512 -cpu max -smp 3 "
        "-m 768M -object memory-backend-file,id=ram0,size=768M,mem-path=/ram/node03.ram,share=on "
        "-kernel /dayfly/vmlinuz -initrd /dayfly/initrd "
        "-append root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 mitigations=off no_timer_check tsc=reliable "
        "nokaslr nowatchdog cryptomgr.notests highres=off "
        "-blockdev driver=file,node-name=f0,filename=/var/lib/dayfly/disk.qcow2,cache.no-flush=on,discard=unmap "
        "-blockdev driver=qcow2,node-name=d0,file=f0,cache.no-flush=on,discard=unmap "
        "-device virtio-blk-pci,drive=d0,id=vda "
        "-netdev tap,id=n0,ifname=tap03,script=no,downscript=no,vhost=off "
        "-device virtio-net-pci,netdev=n0,mac=52:55:00:d1:55:03,id=eth0 "
        "-object rng-random,id=rng0,filename=/dev/urandom -device virtio-rng-pci,rng=rng0 -device vmgenid,guid=auto "
        "-chardev socket,id=console,path=/run/dayfly/console.sock,server=on,wait=off,"
        "logfile=/var/log/dayfly/console.log,logappend=on "
        "-serial chardev:console -device virtio-serial-pci,id=vs0 "
        "-chardev socket,id=agent,path=/run/dayfly/agent.sock,server=on,wait=off "
        "-device virtserialport,chardev=agent,name=org.qemu.guest_agent.0 "
        "-chardev socket,id=qmp,path=/run/dayfly/qmp.sock,server=on,wait=off -mon chardev=qmp,mode=control "
        "-fw_cfg name=opt/dayfly/seed,file=/run/dayfly/seed.tar"
    )


def test_a_kernel_that_is_handed_over_gets_the_partition_of_its_root() -> None:
    words = value(booted_by("direct", "PARTUUID=0f5c2d68-01"), "-append").split()
    assert "root=PARTUUID=0f5c2d68-01" in words
    assert "root=/dev/vda" not in words


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_a_boot_loader_starts_from_the_disk_and_gets_the_same_seed(firmware: Firmware) -> None:
    machine = booted_by(firmware)
    argv = qemu_cmdline.boot(machine).command
    assert not {"-kernel", "-initrd", "-append", "-bios"} & set(argv)
    assert device(machine, "virtio-blk-pci")["bootindex"] == "1"
    assert value(machine, "-fw_cfg") == value(MACHINE, "-fw_cfg")
    assert qemu_cmdline.boot(machine).disk == "keep"


def test_a_bios_is_qemus_own() -> None:
    machine = booted_by("bios")
    assert qemu_cmdline.boot(machine).command[0] == "qemu-system-x86_64"
    assert "pflash" not in value(machine, "-machine")
    assert len(values(machine, "-blockdev")) == 2


def test_uefi_has_its_program_read_only_and_variables_of_the_machines_own() -> None:
    machine = booted_by("uefi")
    flash = dict(part.split("=", 1) for part in value(machine, "-machine").split(",")[1:])
    nodes = [dict(part.split("=", 1) for part in one.split(",")) for one in values(machine, "-blockdev")]
    code, variables = (next(one for one in nodes if one["node-name"] == flash[name]) for name in ("pflash0", "pflash1"))
    assert (code["filename"], code.get("read-only")) == ("/dayfly/firmware.fd", "on")
    assert (variables["filename"], variables.get("read-only")) == (qemu_cmdline.VARIABLES, None)


@pytest.mark.parametrize("start", ["boot", "fork", "restore"])
def test_each_start_of_a_uefi_machine_copies_the_variables_once(start: str, tmp_path: Path) -> None:
    """The prefix of the command, run with other paths and with `echo` for QEMU."""
    machine = booted_by("uefi")
    starts = {
        "boot": qemu_cmdline.boot(machine),
        "fork": qemu_cmdline.fork(machine, FOLDER),
        "restore": qemu_cmdline.restore(machine, FOLDER, keep_disk=True),
    }
    command = starts[start].command
    end = command.index("qemu-system-x86_64")
    pristine, own = tmp_path / "pristine.fd", tmp_path / "own.fd"
    paths = {"/dayfly/variables.fd": str(pristine), qemu_cmdline.VARIABLES: str(own)}
    prefix = [paths.get(word, word) for word in command[:end]]
    assert set(paths.values()) <= set(prefix)

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run([*prefix, "echo", "a b", "c"], capture_output=True, text=True, check=False)

    assert run().returncode != 0, "without the image's variables there is no machine"
    pristine.write_text("pristine")
    assert run().stdout == "a b c\n"
    assert own.read_text() == "pristine"
    own.write_text("changed by the machine")
    assert run().stdout == "a b c\n"
    assert own.read_text() == "changed by the machine"
    assert {path.name for path in tmp_path.iterdir()} == {"pristine.fd", "own.fd"}


@pytest.mark.parametrize("firmware", ["direct", "bios", "uefi"])
def test_a_saved_machine_of_any_firmware_starts_as_the_one_it_was(firmware: Firmware) -> None:
    machine = booted_by(firmware)
    booted, restored = qemu_cmdline.boot(machine), qemu_cmdline.restore(machine, FOLDER, keep_disk=False)
    different = [pair for pair in zip(booted.command, restored.command, strict=False) if pair[0] != pair[1]]
    assert [{word.split(",")[0] for word in pair} for pair in different] == [{"name=opt/dayfly/seed"}]
    assert all("\n" not in word for word in booted.command)
