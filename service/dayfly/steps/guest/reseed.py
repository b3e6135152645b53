"""New random numbers for machines whose memory was loaded from a snapshot that may be loaded again.

Names and secrets that guests make come from the kernel's random numbers. Forks get theirs in personalize.py.
"""

from __future__ import annotations

import secrets
from importlib.resources import files
from typing import Final

from dayfly.concurrency import in_parallel
from dayfly.domain.cluster.topology import Topology
from dayfly.drivers.interfaces import Machines
from dayfly.errors import CommandFailed

RESEED: Final = files("dayfly.steps.guest").joinpath("reseed.pl").read_text()
"""Perl: the function reseed(ENTROPY)."""
_PROGRAM: Final = f"{RESEED}local $/; reseed(<STDIN>);"
_ENTROPY_BYTES: Final = 64


def entropy() -> bytes:
    """New bytes for one machine, as text."""
    return secrets.token_hex(_ENTROPY_BYTES).encode()


async def reseed(machines: Machines, topology: Topology, *, timeout: float) -> None:
    """Reseed the random numbers of all running machines, through their agents. Raises SshTimeout, CommandFailed."""

    async def one(name: str) -> None:
        ended = await machines.run(name, ["/usr/bin/perl", "-e", _PROGRAM], stdin=entropy(), timeout=timeout)
        if ended.exit_code != 0:
            evidence = {"stderr": ended.stderr}
            raise CommandFailed(f"{name}: its random numbers cannot be made new", evidence=evidence)

    await in_parallel(one(container.name) for container in topology.nodes)
