"""Stops all of Kubernetes but the API server and etcd (SIGSTOP) before a template is saved.

They continue after personalisation, so that a fork's processors serve its API server first. What is stopped and
continued: quiesce.pl, personalize.pl.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from dayfly.concurrency import in_parallel
from dayfly.domain.cluster.topology import Topology
from dayfly.drivers.interfaces import Machines
from dayfly.errors import CommandFailed

QUIESCED: Final = "/run/dayfly-hushed"
"""In a guest's memory: the stopped processes, one a line; missing before quiesce(). Saved templates have this path."""

QUIESCE_PROGRAM: Final = files("dayfly.steps.guest").joinpath("quiesce.pl").read_text()


async def quiesce(machines: Machines, topology: Topology, *, timeout: float) -> None:
    """Quiesce all guests in parallel. May be repeated. Raises CommandFailed, and as Machines.run."""

    async def one(container: str) -> None:
        ended = await machines.run(container, ["/usr/bin/perl", "-e", QUIESCE_PROGRAM, QUIESCED], timeout=timeout)
        if ended.exit_code != 0:
            raise CommandFailed(f"{container} cannot be quiesced", evidence={"stderr": ended.stderr})

    await in_parallel(one(container.name) for container in topology.nodes)
