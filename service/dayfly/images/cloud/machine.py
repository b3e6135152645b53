"""The machine of a bake on a cloud image: a container of its own, which boots the image and is reached over SSH.

The container has no capability, its own network, and is removed with the machine, however the bake ends; one that a
killed bake left is removed first. Every wait ends when QEMU does. Not here: what is done in the guest (provision.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from dayfly.domain.bake import verification_cluster
from dayfly.domain.cluster import naming
from dayfly.domain.cluster.qemu_cmdline import CONSOLE_LOG
from dayfly.domain.cluster.timeouts import Accelerator, TimeLimits, limits_for
from dayfly.domain.cluster.topology import ContainerSpec, Publication
from dayfly.domain.image import Boot, Firmware
from dayfly.domain.security.secrets import SshKeyPair, new_key_pair
from dayfly.drivers.interfaces import CommandResult, ContainerEngine, File, Ssh, SshTarget
from dayfly.errors import BakeFailed, ContainerRemoved, DayflyError, SshTimeout, VmExited
from dayfly.images.cloud.machine_command import (
    DISK_PATH,
    MAC,
    SEED_PATH,
    SSH_PORT,
    MachineSize,
    machine_command,
)
from dayfly.images.cloud.seed import BakeSeed, seed_disk
from dayfly.images.rootfs import OnLine
from dayfly.steps.teardown import remove_everything

T = TypeVar("T")

_EVIDENCE_BYTES: Final = 32 << 10
_SHARES: Final = 4096
FIRST_BOOTS: Final = 4
"""The first boot of a cloud image takes so many times as long as a node's: cloud-init, host keys, a larger disk."""


@dataclass(frozen=True)
class MachineHost:
    """Where the machine runs. `accelerator`: of the image with an id; `instance`: the installation of verifications."""

    engine: ContainerEngine
    ssh: Ssh
    accelerator: Callable[[str], Awaitable[Accelerator]]
    instance: str
    publication: Publication


@dataclass(frozen=True)
class MachinePlan:
    """`image`: the id of the container's image; `disk`: the overlay, which is copied into the container.

    `firmware`: how the cloud image itself boots; `boot`: how nodes do. `has_kernel`: the image has one for the test of
    KVM.
    """

    recipe: str
    image: str
    disk: Path
    size: MachineSize
    firmware: Firmware
    boot: Boot
    has_kernel: bool


@dataclass(frozen=True)
class BakeMachine:
    """A machine that boots, or has booted. Its user's key is `target`'s."""

    host: MachineHost
    container: ContainerSpec
    target: SshTarget
    limits: TimeLimits

    async def run(
        self, command: str, *, stdin: bytes = b"", timeout: float | None = None, on_line: OnLine | None = None
    ) -> CommandResult:
        """Run a command of the guest's shell, whatever its exit code. Raises SshTimeout, VmExited."""
        limit = self.limits.command if timeout is None else timeout
        return await self.while_running(
            self.host.ssh.run(self.target, command, stdin=stdin, timeout=limit, on_line=on_line)
        )

    async def require(
        self,
        what: str,
        command: str,
        *,
        stdin: bytes = b"",
        timeout: float | None = None,
        on_line: OnLine | None = None,
    ) -> str:
        """The output of a command that succeeds. Raises BakeFailed, SshTimeout, VmExited."""
        result = await self.run(command, stdin=stdin, timeout=timeout, on_line=on_line)
        if result.exit_code != 0:
            output = f"{result.stdout}{result.stderr}"
            raise BakeFailed(f"{what} ended with exit code {result.exit_code}", evidence={"output": output})
        return result.stdout

    async def put(self, files: Sequence[File]) -> None:
        await self.while_running(self.host.ssh.put(self.target, files, timeout=self.limits.command))

    async def wait_for_ssh(self) -> None:
        """Wait until the guest's SSH answers with the host key of the seed. Raises SshTimeout, SshRefused, VmExited."""
        await self.while_running(self.host.ssh.wait(self.target, timeout=FIRST_BOOTS * self.limits.boot))

    async def power_off(self) -> None:
        """Switch the guest off without a shutdown of its services, which would write to the disk again, and wait."""

        async def order() -> None:
            with suppress(SshTimeout):  # The connection ends with the guest: the container's exit is what counts.
                await self.host.ssh.run(self.target, "systemctl poweroff --force", timeout=self.limits.command)

        ordered = asyncio.create_task(order())
        try:
            async with asyncio.timeout(self.limits.boot):
                code = await self.host.engine.wait_exit(self.container.name)
        except TimeoutError as error:
            raise BakeFailed(f"the machine of the bake was still on after {self.limits.boot:.0f} s") from error
        finally:
            ordered.cancel()
            await asyncio.gather(ordered, return_exceptions=True)
            await self.host.ssh.forget(self.target)
        if code != 0:
            raise await self._ended(code)

    async def copy_disk(self, folder: Path) -> None:
        """Copy the overlay, as the guest left it, into `folder`. Raises ContainerRemoved, BakeFailed, DiskFull."""
        await self.host.engine.copy_out(self.container.name, DISK_PATH, folder)

    async def while_running(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, unless the machine ends first: then VmExited, and `work` is cancelled."""
        job = asyncio.ensure_future(work)
        guard = asyncio.ensure_future(self.host.engine.wait_exit(self.container.name))
        try:
            done, _ = await asyncio.wait({job, guard}, return_when=asyncio.FIRST_COMPLETED)
            if guard not in done or (job in done and job.exception() is None):
                return await job
            raise await self._ended(guard.result())
        finally:
            for task in (job, guard):
                task.cancel()
            await asyncio.gather(job, guard, return_exceptions=True)

    async def evidence(self) -> dict[str, str]:
        """The console and QEMU's output. Never raises."""
        engine, name = self.host.engine, self.container.name
        found: dict[str, str] = {}
        try:
            console = await engine.read_file(name, CONSOLE_LOG, tail_bytes=_EVIDENCE_BYTES)
            found["console"] = console.decode(errors="replace")
            found["qemu"] = await engine.logs(name)
        except DayflyError as error:
            found["missing"] = f"{error.code}: {error.message}"
        return found

    async def _ended(self, code: int | None) -> DayflyError:
        if code is None:
            return ContainerRemoved("the machine of the bake was removed, and not by Dayfly")
        log = (await self.evidence()).get("qemu", "")
        last = next((line for line in reversed(log.splitlines()) if line.strip()), "no output")
        return VmExited(f"the machine of the bake ended with exit code {code}: {last.strip()[:300]}")


@asynccontextmanager
async def bake_machine(
    plan: MachinePlan, host: MachineHost, scratch: Path, on_line: OnLine
) -> AsyncIterator[BakeMachine]:
    """The machine, which has been started; removed at the end of the block. Errors of the block get its evidence.

    `scratch`: an empty folder for the seed, which has a private key. Raises EngineUnavailable, BakeFailed, DiskFull.
    """
    owner = verification_cluster(plan.recipe)
    await remove_everything(host.engine, owner)
    accelerator = await _accelerator(plan, host, on_line)
    user, server = new_key_pair("dayfly-bake"), new_key_pair("dayfly-bake-host")
    files = await _files(plan, user, server, scratch)
    container = _container(plan, host, owner, accelerator)
    try:
        await host.engine.ensure(container, files)
        endpoint = (await host.engine.endpoints(owner)).get(SSH_PORT)
        if endpoint is None:
            code = await host.engine.wait_exit(container.name)
            log = await host.engine.logs(container.name)
            raise VmExited(f"the machine of the bake ended at once with exit code {code}", evidence={"qemu": log})
        target = SshTarget(endpoint.host, endpoint.port, user.private, server.public)
        machine = BakeMachine(host, container, target, limits_for(accelerator))
        try:
            yield machine
        except DayflyError as error:
            error.evidence |= {name: text for name, text in (await machine.evidence()).items() if text}
            raise
        finally:
            await host.ssh.forget(target)
    finally:
        await remove_everything(host.engine, owner)


async def _accelerator(plan: MachinePlan, host: MachineHost, on_line: OnLine) -> Accelerator:
    if not plan.has_kernel:
        on_line("the machine is emulated: no kernel of the image can be read, so KVM is not tested")
        return "tcg"
    accelerator = await host.accelerator(plan.image)
    on_line(f"the machine runs on {accelerator}")
    return accelerator


async def _files(plan: MachinePlan, user: SshKeyPair, server: SshKeyPair, scratch: Path) -> tuple[File, ...]:
    """The overlay, which is empty, and the seed."""
    seed = scratch / "cidata.img"
    await seed_disk(seed, BakeSeed(user.public, server, MAC), scratch)
    try:
        return (File(SEED_PATH, seed.read_bytes()), File(DISK_PATH, plan.disk.read_bytes()))
    finally:
        seed.unlink()


def _container(plan: MachinePlan, host: MachineHost, owner: str, accelerator: Accelerator) -> ContainerSpec:
    return ContainerSpec(
        name=naming.container_name(owner, "bake"),
        # The engine lists the ports of this role.
        role="net",
        image=plan.image,
        command=machine_command(plan.size, accelerator, plan.firmware, plan.boot.root),
        labels={
            naming.LABEL_CLUSTER: owner,
            naming.LABEL_ROLE: "net",
            naming.LABEL_INSTANCE: host.instance,
            naming.LABEL_GENERATION: "1",
        },
        devices=("/dev/kvm",) if accelerator == "kvm" else (),
        ports=(SSH_PORT,),
        publication=host.publication,
        cpu_shares=_SHARES * plan.size.vcpus,
    )
