"""Real machines: save, fork, load, pause and query, with QEMU, the guest's agent and the kernel's accounting."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from dayfly.clock import SystemClock
from dayfly.domain.cluster import qemu_cmdline
from dayfly.domain.cluster.boot_source import HIBERNATION as ASLEEP
from dayfly.domain.cluster.boot_source import TEMPLATE
from dayfly.domain.cluster.model import MachineMemory
from dayfly.domain.cluster.naming import template_volume
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.cluster.timeouts import Accelerator
from dayfly.drivers.docker.engine import DockerEngine
from dayfly.drivers.docker.images import DockerImages
from dayfly.drivers.qemu.kvm_probe import probe_kvm
from dayfly.drivers.qemu.qmp import qmp
from dayfly.drivers.ssh import SshConnections
from dayfly.errors import CommandFailed, SshTimeout
from dayfly.steps.guest.quiesce import quiesce
from dayfly.steps.personalize import Personalize
from tests.support.real_machines import ANSWER_SECONDS, RealMachines, real_spec
from tests.support.service import docker

pytestmark = [pytest.mark.vm, pytest.mark.asyncio(loop_scope="module")]

BARE = "dayfly/bare:latest"
FORKS = 5
FOLDER = "/template/node01"
CHECKPOINT, HIBERNATION = "/saved/checkpoints/one/node01", "/saved/hibernation/node01"
SAVED = ASLEEP.fence(1)
# Counts in memory only: its state survives with the machine's RAM, and nowhere else.
COUNTER = "setsid sh -c 'n=0; while :; do n=$((n+1)); echo $$ $n > /run/counter; sleep 0.2; done' </dev/null >&0 2>&0 &"


@dataclass
class Lab:
    """Data that the tests of this module share. `booted`: the host's memory of a booted machine."""

    engine: DockerEngine
    ssh: SshConnections
    spec: ClusterSpec
    instance: str
    accelerator: Accelerator
    template: str
    booted: MachineMemory | None = None

    def cluster(self, name: str, *, makes_template: bool = False) -> RealMachines:
        cluster_id = f"{self.instance.removeprefix('test-')}{name}"
        return RealMachines(
            self.engine, self.ssh, self.spec, cluster_id, self.instance, self.accelerator, self.template, makes_template
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lab(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lab]:
    """Start with a template of one `bare` machine."""
    images = DockerImages()
    spec = await real_spec(images, BARE)
    cache: Path = tmp_path_factory.mktemp("kvm") / "kvm.json"
    answer = await probe_kvm(images, BARE, cache_file=cache)
    await images.close()
    instance = f"test-{secrets.token_hex(4)}"
    made = Lab(DockerEngine(instance=instance), SshConnections(), spec, instance, answer.accelerator, instance)
    try:
        await make_template(made)
        yield made
    finally:
        for resource in await made.engine.list_resources():
            if resource.kind == "container":
                await made.engine.discard(resource)
        for resource in await made.engine.list_resources():
            await made.engine.discard(resource)
        await made.ssh.close()
        await made.engine.close()


async def make_template(lab: Lab) -> None:
    builder = lab.cluster("b", makes_template=True)
    await builder.start(qemu_cmdline.boot)
    await builder.answers()
    await builder.shell("echo template > /root/mark; " + COUNTER)
    lab.booted = await builder.machines.memory(builder.node)
    await lab.ssh.forget(await builder.target())
    size = await builder.machines.save(
        builder.node, FOLDER, ram="shared", disk=True, fence=TEMPLATE.fence(1), timeout=ANSWER_SECONDS
    )
    assert await builder.machines.status(builder.node) == "postmigrate"
    assert 30 << 20 < size < 400 << 20, "sparse files count as far as they have anything"
    # Once more, as after a crash between saving and its being noted.
    await builder.machines.save(
        builder.node, FOLDER, ram="shared", disk=True, fence=TEMPLATE.fence(1), timeout=ANSWER_SECONDS
    )
    await lab.engine.remove(builder.cluster_id)
    assert template_volume(lab.template) in docker("volume", "ls", "--format", "{{.Name}}").split()


@pytest_asyncio.fixture(loop_scope="module")
async def fork(lab: Lab) -> AsyncIterator[RealMachines]:
    """One fork for all tests of forks."""
    made = lab.cluster("f")
    await made.fork()
    yield made
    await lab.engine.remove(made.cluster_id)


async def test_forks_at_once_are_reachable_each_by_its_own_key_and_share_memory(lab: Lab) -> None:
    forks = [lab.cluster(f"f{number}") for number in range(FORKS)]
    await asyncio.gather(*(each.fork() for each in forks))
    drawn = await asyncio.gather(*(each.shell("head -c 16 /dev/urandom | od -An -tx1") for each in forks))
    ids = await asyncio.gather(*(each.shell("cat /etc/machine-id") for each in forks))
    keys = await asyncio.gather(*(each.shell("cat /etc/ssh/ssh_host_ed25519_key.pub") for each in forks))
    for different in (drawn, ids, keys):
        assert len(set(different)) == FORKS
    assert keys == [each.secrets.host_key.public for each in forks]
    for each in forks:
        before = time.time()
        told = float(await each.shell("date +%s.%N"))
        assert before - 1 < told < time.time() + 1
        assert await each.shell("cat /root/mark; hostname") == "template\nnode01"
    shares = [(await each.machines.memory(each.node)).proportional_bytes for each in forks]
    assert lab.booted is not None
    assert sum(shares) <= FORKS * lab.booted.proportional_bytes / 2
    assert "journal files" not in await forks[0].shell("journalctl --quiet --lines 1 2>&1")
    assert ids[0] in await forks[0].shell("ls /run/log/journal")
    await forks[0].shell("echo mine > /root/mark")
    assert await forks[1].shell("cat /root/mark") == "template"
    for each in forks:
        await lab.engine.remove(each.cluster_id)


async def test_a_fork_becomes_itself_again_in_one_process(fork: RealMachines) -> None:
    context = fork.context(fork.spec.nodes()[0])
    listening = await fork.shell("cat /run/sshd.pid")
    # Another host key, a wrong clock, and no program but personalize.pl that could set the clock.
    ruin = "rm /run/dayfly-identity; echo another > /etc/machine-id; ssh-keygen -q -t ed25519 -N '' -f /run/another"
    await fork.shell(f"{ruin}; mv /run/another /etc/ssh/ssh_host_ed25519_key; date --set='-1 hour'; mv /bin/date /run/")
    assert not await Personalize().check(context)
    await Personalize().apply(context)
    assert await Personalize().check(context)
    before = time.time()
    told = float(await fork.shell("/run/date +%s.%N"))
    assert before - 1 < told < time.time() + 1
    assert await fork.shell("cat /run/sshd.pid") == listening, "sshd was started again for nothing"
    assert len(await fork.shell("cat /etc/machine-id")) == 32
    modes = await fork.shell("stat -c '%a %n' /etc/ssh/ssh_host_ed25519_key /root/.ssh; ls /")
    assert {"600 /etc/ssh/ssh_host_ed25519_key", "700 /root/.ssh"} <= set(modes.splitlines())
    assert "entropy" not in modes


async def test_a_guest_that_cannot_become_itself_says_why(fork: RealMachines) -> None:
    await fork.shell("rm /run/dayfly-identity; mkdir /etc/machine-id.new")
    with pytest.raises(CommandFailed, match="cannot be personalised") as caught:
        await Personalize().apply(fork.context(fork.spec.nodes()[0]))
    assert caught.value.evidence["stderr"].startswith("/etc/machine-id: Is a directory")


async def test_a_forks_memory_cannot_be_shared_again(fork: RealMachines) -> None:
    with pytest.raises(CommandFailed, match="cannot be shared"):
        await fork.machines.save(
            fork.node, "/saved/again", ram="shared", disk=True, fence=SAVED, timeout=ANSWER_SECONDS
        )
    assert await fork.machines.status(fork.node) == "running"
    assert await left_in(fork, "/saved") == [".fence"]


async def test_a_save_that_cannot_be_written_leaves_the_machine_as_it_was(fork: RealMachines) -> None:
    with pytest.raises(CommandFailed, match="Read-only"):
        await fork.machines.save(
            fork.node, "/template/again", ram="whole", disk=True, fence=TEMPLATE.fence(2), timeout=ANSWER_SECONDS
        )
    assert await fork.machines.status(fork.node) == "running"


async def test_back_to_a_checkpoint_and_back_from_hibernation(fork: RealMachines) -> None:
    machines, node = fork.machines, fork.node
    await fork.shell("echo checkpoint > /root/mark; sync")
    process, counted = await counter(fork)
    await machines.pause(node)
    assert await machines.status(node) == "paused"
    size = await machines.save(node, CHECKPOINT, ram="whole", disk=True, fence=SAVED, timeout=ANSWER_SECONDS)
    assert size > 30 << 20
    assert await machines.saved(node, CHECKPOINT)
    await fork.resume()
    await fork.shell("echo later > /root/mark; echo junk > /root/junk; sync")

    await fork.ssh.forget(await fork.target())
    await fork.engine.remove(fork.cluster_id, only={node})
    await fork.start(lambda machine: qemu_cmdline.restore(machine, CHECKPOINT, keep_disk=False))
    await machines.load(node, CHECKPOINT, ram="whole", timeout=ANSWER_SECONDS)
    assert await machines.status(node) == "paused"
    await fork.resume()
    assert await fork.shell("cat /root/mark; ls /root") == "checkpoint\nmark"
    again, recounted = await counter(fork)
    assert (again, recounted >= counted) == (process, True)

    await fork.shell("echo hibernated > /root/mark")
    await machines.pause(node)
    await machines.save(node, HIBERNATION, ram="whole", disk=False, fence=SAVED, timeout=ANSWER_SECONDS)
    await fork.ssh.forget(await fork.target())
    await fork.engine.stop(node)
    await fork.start(lambda machine: qemu_cmdline.restore(machine, HIBERNATION, keep_disk=True))
    await machines.load(node, HIBERNATION, ram="whole", timeout=ANSWER_SECONDS)
    await machines.discard(node, "/saved/hibernation", fence=SAVED)
    assert not await machines.saved(node, HIBERNATION)
    await fork.resume()
    assert await fork.shell("cat /root/mark") == "hibernated"
    resumed, further = await counter(fork)
    assert (resumed, further > recounted) == (process, True)
    before = time.time()
    told = float(await fork.shell("date +%s"))
    assert before - 2 < told < time.time() + 2
    await machines.discard(node, "/saved/checkpoints", fence=SAVED)
    assert await left_in(fork, "/saved") == [".fence"]


async def test_a_machine_that_waits_to_be_loaded_does_not_go_on(fork: RealMachines) -> None:
    await fork.engine.stop(fork.node)
    await fork.start(lambda machine: qemu_cmdline.fork(machine, FOLDER))
    async with qmp(fork.engine, fork.node, timeout=60, starting=True) as session:
        assert await session.status() == "inmigrate"
    with pytest.raises(CommandFailed, match="not loaded yet"):
        await fork.machines.resume(fork.node)
    with pytest.raises(CommandFailed, match="refused migrate"):
        await fork.machines.save(
            fork.node, "/saved/again", ram="whole", disk=False, fence=SAVED, timeout=ANSWER_SECONDS
        )
    with pytest.raises(CommandFailed, match="No such file"):
        await fork.machines.load(fork.node, "/saved/none", ram="shared", timeout=ANSWER_SECONDS)
    # With the wrong kind of memory it is refused, not loaded by halves.
    with pytest.raises(CommandFailed):
        await fork.machines.load(fork.node, FOLDER, ram="whole", timeout=10)


async def test_a_silent_agent_is_a_time_out_and_answers_again(fork: RealMachines) -> None:
    machines, node = fork.machines, fork.node
    await machines.pause(node)
    with pytest.raises(SshTimeout, match="did not answer within 1 s"):
        await machines.run(node, ["/bin/true"], timeout=1)
    await fork.resume()
    ended = await machines.run(node, ["/bin/sh", "-c", "cat; echo err >&2; exit 3"], stdin=b"in", timeout=60)
    assert (ended.exit_code, ended.stdout, ended.stderr) == (3, "in", "err\n")
    with pytest.raises(CommandFailed, match="guest-exec"):
        await machines.run(node, ["/bin/no-such-program"], timeout=60)
    await machines.set_clock(node, SystemClock(), timeout=60)
    # Nothing that was left pending keeps the agent busy.
    used = "awk '{ print $14 + $15 }' /proc/$(pidof qemu-ga)/stat"
    ticks = int(await fork.shell(used))
    await asyncio.sleep(5)
    assert int(await fork.shell(used)) - ticks < 150


async def test_a_busy_agent_leaves_others_their_turn(fork: RealMachines) -> None:
    # A fork's agent retries its writes until a kernel worker learns that the host reads the port.
    burn = "while ((times)[0] + (times)[1] < %s) {}"
    busy = ["/usr/bin/perl", "-e", "open my $mark, '>', '/run/busy' or die; " + burn % 8]
    async with asyncio.TaskGroup() as group:
        agent = group.create_task(fork.machines.run(fork.node, busy, timeout=120))
        await fork.shell("until [ -e /run/busy ]; do sleep 0.1; done; perl -e '" + burn % 0.3 + "'")
        assert not agent.done()


async def test_quiesced_processes_continue_when_a_fork_is_personalized(fork: RealMachines) -> None:
    # A `bare` node has only a process of that name.
    kubelet = 'open my $file, ">", "/run/kubelet" or die; $0 = "kubelet"; print $file $$; close $file; sleep 600'
    await fork.shell(f"setsid perl -e '{kubelet}' </dev/null >&0 2>&0 & until [ -s /run/kubelet ]; do sleep 0.1; done")
    state = "awk '/^State/ { print $2 }' /proc/$(cat /run/kubelet)/status"

    await quiesce(fork.machines, fork.topology, timeout=ANSWER_SECONDS)
    assert await fork.shell(state) == "T"
    # A second run finds the stopped processes again.
    await quiesce(fork.machines, fork.topology, timeout=ANSWER_SECONDS)

    await Personalize().apply(fork.context(fork.spec.nodes()[0]))
    assert await fork.shell(state) == "S"
    await fork.shell("kill $(cat /run/kubelet)")


async def counter(cluster: RealMachines) -> tuple[str, int]:
    """Its process, and how far it has counted."""
    process, count = (await cluster.shell("cat /run/counter")).split()
    return process, int(count)


async def left_in(cluster: RealMachines, folder: str) -> list[str]:
    return (await cluster.engine.exec(cluster.node, ["ls", "-A", folder], timeout=30)).stdout.decode().split()
