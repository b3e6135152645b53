"""Runs a program of the node image (domain/image.KubernetesNode); reports its progress, and its output on failure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dayfly.concurrency import in_parallel
from dayfly.domain.cluster.boot_source import TEMPLATE
from dayfly.domain.cluster.spec import Node
from dayfly.domain.image import KubernetesNode
from dayfly.errors import CommandFailed, Failure, ImageBroken, InfrastructureError, SshTimeout
from dayfly.steps.observe.exit_guard import while_running
from dayfly.steps.step import StepContext

PROGRESS_PREFIX: Final = "dayfly: "
"""Lines with this prefix are progress for people; all output is evidence if the program fails."""

_MARKS: Final = "/run/dayfly-"
"""In memory: a mark is valid for one boot."""
_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
_EVIDENCE_CHARACTERS: Final = 16 * 1024
_JOURNAL: Final = "journalctl --unit kubelet --no-pager --lines 120 --output cat"
_LOOK_SECONDS: Final = 20.0


def kubernetes_node(context: StepContext) -> KubernetesNode:
    """The Kubernetes part of the manifest. Raises ImageBroken where the image has none."""
    kubernetes = context.spec.manifest.kubernetes
    if kubernetes is None:
        raise ImageBroken(f"{context.spec.image} has no Kubernetes")
    return kubernetes


async def program_done(context: StepContext, program: str) -> bool:
    """Whether `program` reports on this node that its work is done; False where the node does not answer."""
    try:
        return (await context.ssh(f"{program} --done", timeout=_look_seconds(context))).exit_code == 0
    except SshTimeout:
        return False


async def run_program(context: StepContext, program: str, failure: type[Failure], *, timeout: float) -> None:
    """Run `program` on this node to its end. Raises `failure` with its output and the kubelet's journal."""
    node = context.this_node

    def on_line(line: str) -> None:
        if line.startswith(PROGRESS_PREFIX):
            context.progress(context.secrets.redact(line.removeprefix(PROGRESS_PREFIX).strip()))

    running = context.drivers.ssh.run(await context.ssh_target(), program, timeout=timeout, on_line=on_line)
    try:
        result = await while_running(context, running)
    except SshTimeout as error:
        evidence = error.evidence | await kubelet_evidence(context, [node])
        raise failure(f"{program} on {node.name}: {error.message}", evidence=evidence) from error
    if result.exit_code != 0:
        output = context.secrets.redact(f"{result.stdout}\n{result.stderr}".strip())
        last = output.splitlines()[-1] if output else "it printed nothing"
        evidence = {"output": output[-_EVIDENCE_CHARACTERS:]} | await kubelet_evidence(context, [node])
        raise failure(
            f"{program} on {node.name} ended with exit code {result.exit_code}: {last[:300]}", evidence=evidence
        )


async def kubelet_evidence(context: StepContext, nodes: Iterable[Node]) -> dict[str, str]:
    """The end of each node's kubelet journal, as `kubelet/<node>` → text. Never raises."""
    evidence = {}
    for node in nodes:
        try:
            journal = await context.ssh(_JOURNAL, node, timeout=_look_seconds(context))
            evidence[f"kubelet/{node.name}"] = context.secrets.redact(journal.stdout[-_EVIDENCE_CHARACTERS:])
        except (Failure, InfrastructureError) as error:
            evidence[f"kubelet/{node.name}"] = f"not available: {error.code}: {error.message}"
    return evidence


async def boot_ids(context: StepContext) -> dict[str, str]:
    """Node's name → boot id of its kernel. Raises SshTimeout, CommandFailed."""

    async def ask(node: Node) -> str:
        if context.cluster.boot_source == TEMPLATE:
            # By the agent: a login is slow in a fork (steps/personalize.py).
            container = context.of(node).container.name
            return (await context.drivers.machines.read(container, _BOOT_ID, timeout=context.limits.command)).strip()
        result = await context.ssh(f"cat {_BOOT_ID}", node, timeout=context.limits.command)
        if result.exit_code != 0:
            raise CommandFailed(f"the boot id of {node.name} cannot be read", evidence={"stderr": result.stderr})
        return result.stdout.strip()

    nodes = context.spec.nodes()
    return {node.name: boot_id for node, boot_id in zip(nodes, await in_parallel(map(ask, nodes)), strict=True)}


async def remember(context: StepContext, mark: str, node: Node) -> None:
    """Leave a mark on `node` that marked() finds until the machine stops. Raises CommandFailed, SshTimeout."""
    result = await context.ssh(f"touch {_MARKS}{mark}", node, timeout=context.limits.command)
    if result.exit_code != 0:
        raise CommandFailed(f"{_MARKS}{mark} cannot be written on {node.name}", evidence={"stderr": result.stderr})


async def marked(context: StepContext, mark: str, node: Node) -> bool:
    """Whether the mark is there; False where the node does not answer."""
    try:
        return (await context.ssh(f"test -e {_MARKS}{mark}", node, timeout=context.limits.command)).exit_code == 0
    except SshTimeout:
        return False


def _look_seconds(context: StepContext) -> float:
    return _LOOK_SECONDS * (3 if context.limits.emulated else 1)
