"""Traffic from callers to a cluster, counted by its network container's kernel (provisioning/toolbox/net).

An open connection counts as traffic while keep-alive packets arrive.
"""

from __future__ import annotations

from typing import Final

from dayfly.domain.cluster.topology import Topology
from dayfly.drivers.interfaces import ContainerEngine
from dayfly.errors import CommandFailed

_LIST: Final = ("iptables", "-w", "-t", "mangle", "-nvxL", "PREROUTING")
_RULE: Final = "ctdir ORIGINAL"
_LOOK_SECONDS: Final = 30.0


async def packets_from_outside(engine: ContainerEngine, topology: Topology) -> int | None:
    """Packets since the network's container was started; None where the image is too old to count them.

    Raises ContainerExited, and CommandFailed when the kernel's rules cannot be listed.
    """
    ended = await engine.exec(topology.net.name, _LIST, timeout=_LOOK_SECONDS)
    if ended.exit_code != 0:
        raise CommandFailed(f"{topology.net.name}: {ended.stderr.decode(errors='replace').strip()}")
    lines = [line for line in ended.stdout.decode(errors="replace").splitlines() if _RULE in line]
    return int(lines[0].split()[0]) if lines else None
