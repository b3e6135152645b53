"""The step `boot`: starts one node's virtual machine, and waits until SSH answers with the node's own host key."""

from __future__ import annotations

import asyncio
from typing import Final

from dayfly.domain.cluster import qemu_cmdline
from dayfly.domain.cluster.network import LEASES, node_address, node_mac
from dayfly.domain.cluster.timeouts import TEARDOWN_SECONDS, TimeLimits
from dayfly.drivers.interfaces import File
from dayfly.errors import DayflyError, DhcpTimeout, SshTimeout
from dayfly.steps.guest.guest_seed import seed_file
from dayfly.steps.guest.patched_code import files_against_patching
from dayfly.steps.observe.exit_guard import EVIDENCE_BYTES, container_evidence, is_running, while_running
from dayfly.steps.step import Step, StepContext

_LOOK_SECONDS: Final = 10.0
_BANNER_SECONDS: Final = 30.0
_BANNER: Final = 'exec 3<>"/dev/tcp/$1/22" && IFS= read -r line <&3 && echo "$line"'
"""For bash: prints the first line of an SSH server."""


class Boot(Step):
    """Starts a node's container and waits for its guest."""

    def limit(self, limits: TimeLimits) -> float:
        return limits.boot + limits.sandbox

    async def check(self, context: StepContext) -> bool:
        if not await is_running(context.drivers.engine, context.cluster.id, context.container):
            return False
        try:
            await context.drivers.ssh.wait(await context.ssh_target(), timeout=_LOOK_SECONDS)
        except SshTimeout:
            return False
        return True

    async def apply(self, context: StepContext) -> None:
        engine, node = context.drivers.engine, context.this_node
        start = File(qemu_cmdline.START_FILE, qemu_cmdline.start_file(qemu_cmdline.boot(context.machine)))
        more = files_against_patching(context.cluster.spec.manifest, context.machine.accelerator)
        seed = seed_file(context.cluster.id, node, context.secrets, more)
        await context.ensure(context.container, [seed, start])
        context.progress(f"{node.name} is booting")
        target = await context.ssh_target()
        # A kept connection to an earlier boot would hang until TCP times out.
        await context.drivers.ssh.forget(target)
        answered = context.drivers.ssh.wait(target, timeout=context.limits.boot)
        try:
            await while_running(context, answered)
        except SshTimeout as error:
            error.evidence |= await container_evidence(engine, context.container)
            await self._check_lease(context, error)
            await self._check_inside(context, error)
            raise

    async def undo(self, context: StepContext) -> None:
        async with asyncio.timeout(TEARDOWN_SECONDS):
            if context.cluster.keeps_disks:
                # The disk belongs to the caller: the container is stopped, never removed.
                await context.drivers.engine.stop(context.container.name)
            else:
                await context.drivers.engine.remove(context.cluster.id, only={context.container.name})

    async def _check_lease(self, context: StepContext, error: SshTimeout) -> None:
        """Raises DhcpTimeout where the node never had a lease: its guest did not start."""
        node, net = context.this_node, context.topology.net.name
        try:
            leases = (await context.drivers.engine.read_file(net, LEASES, tail_bytes=EVIDENCE_BYTES)).decode()
        except DayflyError as trouble:
            error.evidence["leases"] = f"not available: {trouble.code}: {trouble.message}"
            return
        error.evidence["leases"] = leases
        if node_mac(node.index) not in leases:
            raise DhcpTimeout(
                f"{node.name} requested no address by DHCP within {context.limits.boot:g} s of its start",
                evidence=error.evidence,
            ) from error

    async def _check_inside(self, context: StepContext, error: SshTimeout) -> None:
        """Raises SshTimeout with another message where the node answers inside its namespace."""
        node, net = context.this_node, context.topology.net.name
        argv = ["timeout", f"{_BANNER_SECONDS:g}", "bash", "-c", _BANNER, "bash", node_address(node.index)]
        try:
            asked = await context.drivers.engine.exec(net, argv, timeout=_BANNER_SECONDS + _LOOK_SECONDS)
        except DayflyError as trouble:
            error.evidence["inside"] = f"not available: {trouble.code}: {trouble.message}"
            return
        error.evidence["inside"] = (asked.stdout + asked.stderr).decode(errors="replace")
        if asked.stdout.startswith(b"SSH-"):
            raise SshTimeout(
                f"{node.name} answers inside {net}, but not at its published port: {error.message}",
                evidence=error.evidence,
            ) from error
