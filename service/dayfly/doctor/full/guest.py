"""Commands on a node of a cluster under trial, over SSH with endpoint, key and host key from the API, as a caller."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from dayfly.clock import Clock
from dayfly.doctor.full.report import TrialFailed
from dayfly.doctor.full.session import Session
from dayfly.drivers.interfaces import Ssh, SshTarget
from dayfly.drivers.ssh import SshConnections

CLOCK_SECONDS: Final = 2.0
"""The largest allowed difference between a guest's clock and the host's."""
_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"


@dataclass(frozen=True)
class Guest:
    """One node, over one connection."""

    node: str
    target: SshTarget
    connections: Ssh
    clock: Clock
    timeout: float

    async def run(self, command: str) -> str:
        """The output of `command`. Raises SshTimeout, SshRefused, and TrialFailed when the command fails."""
        ended = await self.connections.run(self.target, command, timeout=self.timeout)
        if ended.exit_code != 0:
            raise TrialFailed(
                "command_failed",
                f"on {self.node}, `{command}` ended with exit code {ended.exit_code}: {ended.stderr.strip()}",
                evidence={"stdout": ended.stdout, "stderr": ended.stderr},
            )
        return ended.stdout.strip()

    async def boot_id(self) -> str:
        """The id of the node's boot: new after each boot, the same after a load of a snapshot."""
        return await self.run(f"cat {_BOOT_ID}")

    async def host_key(self) -> str:
        """The public host key of the node's SSH server."""
        return " ".join((await self.run("cat /etc/ssh/ssh_host_ed25519_key.pub")).split()[:2])

    async def check_clock(self) -> str:
        """A sentence about the clock. Raises TrialFailed when the clock is wrong by more than CLOCK_SECONDS."""
        await self.run("true")  # a login takes longer than a command, and would blur the measurement
        before = self.clock.now().timestamp()
        guest = float(await self.run("date +%s.%N"))
        after = self.clock.now().timestamp()
        difference, uncertain = guest - (before + after) / 2, (after - before) / 2
        if abs(difference) > CLOCK_SECONDS + uncertain:
            raise TrialFailed("clock_wrong", f"the clock of {self.node} differs from the host's by {difference:+.1f} s")
        return f"{self.node}'s clock differs by {difference:+.2f} s"


@asynccontextmanager
async def guest(session: Session, cluster: str, node: str) -> AsyncIterator[Guest]:
    """A node with a new connection: a kept connection would not survive resets and hibernation."""
    session.show_progress(f"SSH to {node}")
    access = await session.api.ssh(cluster, node)
    target = SshTarget(access.host, access.port, access.private_key, access.host_key, access.username)
    connections = SshConnections(clock=session.clock)
    try:
        yield Guest(node, target, connections, session.clock, session.limits.command)
    finally:
        await connections.close()
