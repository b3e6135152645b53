"""The trials of snapshots: template, fork, reset, checkpoint, hibernation, resumption."""

from __future__ import annotations

from typing import Final

from dayfly.client import Checkpoint
from dayfly.doctor.full.guest import Guest, guest
from dayfly.doctor.full.report import TrialFailed
from dayfly.doctor.full.session import WORKERS, Session
from dayfly.doctor.full.trials.cold import NODES, kubernetes, seconds_to_ready
from dayfly.domain.cluster.naming import node_name

CHECKPOINT: Final = "doctor"
_FILE: Final = "/root/dayfly-doctor"
_IDENTITY: Final = "cat /etc/machine-id; head -c 32 /dev/urandom | sha256sum"


async def make_template(session: Session) -> str:
    """A template becomes ready: its first fork verifies it."""
    requested = await session.api.create_template(image=session.image.reference, workers=WORKERS)
    session.template = requested.id
    template = await session.until_template_ready(requested.id)
    await session.note_volumes()
    return f"verified by a first fork, {template.size_bytes >> 20} MiB on disk"


async def fork(session: Session) -> str:
    """Two forks have different identities. One follows the other: a small host may carry one at a time."""
    first = await _fork(session)
    identities = [await _identities(session, first)]
    await session.api.delete(first)
    await session.until(first, "deleted")
    session.fork = await _fork(session)
    seconds = seconds_to_ready(await session.api.get(session.fork))
    identities.append(await _identities(session, session.fork))
    for kind, one, other in zip(("host key", "machine id", "random numbers"), *identities, strict=True):
        if one & other or (kind == "host key" and (one | other) & set(session.cold_host_keys)):
            raise TrialFailed("forks_alike", f"two clusters have the same {kind} on a node")
    clocks = await _clocks(session)
    nodes = await kubernetes(session, session.fork)
    return f"ready {seconds:.1f} s after the request; host keys, machine ids, random numbers differ; {clocks}{nodes}"


async def reset(session: Session) -> str:
    """A reset to the pristine state removes a file that was written before, and restores the template's machines."""
    await ready_fork(session)
    before, after = await session.api.get(session.fork), await session.last_event(session.fork)
    for node in NODES:
        async with guest(session, session.fork, node) as shell:
            await shell.run(f"echo written >{_FILE} && sync")
    await session.api.reset(session.fork)
    seen = await session.until(session.fork, "ready")
    await session.require_no_fallback(session.fork, after=after)
    if seen.generation != before.generation + 1 or seen.endpoints != before.endpoints:
        raise TrialFailed("reset_differs", "the reset changed the cluster's ports, or did not count as a reset")
    for node in NODES:
        async with guest(session, session.fork, node) as shell:
            if await shell.run(f"test -e {_FILE} && echo there || echo gone") != "gone":
                raise TrialFailed("file_kept", f"a file that was written on {node} before the reset still exists")
    return f"a file that was written before is gone, the ports are the same; {await _clocks(session)}"


async def checkpoint(session: Session) -> str:
    """A reset to a checkpoint restores files and memory."""
    await ready_fork(session)
    async with guest(session, session.fork, node_name(1)) as shell:
        boot_id, process = await _leave_mark(shell)
    after = await session.last_event(session.fork)
    await session.api.create_checkpoint(session.fork, CHECKPOINT)
    ready = await session.poll(lambda: _ready_checkpoint(session, after))
    await session.note_volumes()
    async with guest(session, session.fork, node_name(1)) as shell:
        await shell.run(f"kill {process}; echo changed >{_FILE}; echo new >{_FILE}.new; sync")
    await session.api.reset(session.fork, checkpoint=CHECKPOINT)
    await session.until(session.fork, "ready")
    await session.require_no_fallback(session.fork, after=after)
    async with guest(session, session.fork, node_name(1)) as shell:
        await _require_mark(shell, boot_id, process)
        if await shell.run(f"test -e {_FILE}.new && echo there || echo gone") != "gone":
            raise TrialFailed(
                "file_kept", "a file that was written after the checkpoint exists after the reset to the checkpoint"
            )
    return f"{ready.size_bytes >> 20} MiB; files and processes are as at the checkpoint; {await _clocks(session)}"


async def hibernate_and_resume(session: Session) -> str:
    """Hibernation and resumption keep files, processes and ports."""
    await ready_fork(session)
    before = await session.api.get(session.fork)
    async with guest(session, session.fork, node_name(1)) as shell:
        boot_id, process = await _leave_mark(shell)
    after = await session.last_event(session.fork)
    await session.api.hibernate(session.fork)
    await session.until(session.fork, "hibernated")
    # The cluster is `hibernated` as soon as its memory is saved; its containers end after that.
    await session.poll(lambda: _nothing_runs(session))
    began = session.clock.monotonic()
    await session.api.resume(session.fork)
    seen = await session.until(session.fork, "ready")
    seconds = session.clock.monotonic() - began
    await session.require_no_fallback(session.fork, after=after)
    if seen.endpoints != before.endpoints:
        raise TrialFailed("ports_differ", "hibernation changed the cluster's ports")
    async with guest(session, session.fork, node_name(1)) as shell:
        await _require_mark(shell, boot_id, process)
    clocks = await _clocks(session)
    return f"ready {seconds:.1f} s after resume; files, processes, ports as before; {clocks}" + await kubernetes(
        session, session.fork
    )


async def _fork(session: Session) -> str:
    requested = await session.api.create(image=session.image.reference, workers=WORKERS)
    session.fork = requested.id
    seen = await session.until(requested.id, "ready")
    await session.require_no_fallback(requested.id)
    if seen.image_id != session.image.info.id:
        raise TrialFailed("image_changed", f"{session.image.reference} was baked again during the trials: try again")
    if seen.template != session.template:
        raise TrialFailed("not_forked", f"the cluster is a fork of {seen.template}, not of {session.template}")
    await session.note_volumes()
    return requested.id


async def ready_fork(session: Session) -> None:
    """Ensure a ready fork: replace the present fork where an earlier trial left it unusable."""
    seen = await session.api.get(session.fork)
    if (seen.phase, seen.desired) == ("ready", "present"):
        return
    if seen.desired != "absent":
        await session.api.delete(session.fork)
    await session.until(session.fork, "deleted")
    await _fork(session)


async def _nothing_runs(session: Session) -> bool | None:
    """True when no container of the fork runs, else None."""
    found = await session.infrastructure.engine.list_containers(session.fork)
    running = sorted(one.name for one in found if one.state == "running")
    if not running:
        return True
    session.show_progress(f"the end of {', '.join(running)}")
    return None


async def _identities(session: Session, cluster_id: str) -> tuple[set[str], set[str], set[str]]:
    """The host keys, machine ids, and samples of the kernel's random numbers of all nodes."""
    keys, machines, numbers = set(), set(), set()
    for node in NODES:
        async with guest(session, cluster_id, node) as shell:
            keys.add(await shell.host_key())
            machine, number = (await shell.run(_IDENTITY)).splitlines()
            machines.add(machine)
            numbers.add(number)
    return keys, machines, numbers


async def _clocks(session: Session) -> str:
    clocks = []
    for node in NODES:
        async with guest(session, session.fork, node) as shell:
            clocks.append(await shell.check_clock())
    return ", ".join(clocks)


async def _leave_mark(shell: Guest) -> tuple[str, str]:
    """Write a file and start a process; the ids of the boot and of the process."""
    process = await shell.run(f"echo mark >{_FILE}; sync; nohup sleep 86400 >/dev/null 2>&1 </dev/null & echo $!")
    return await shell.boot_id(), process


async def _require_mark(shell: Guest, boot_id: str, process: str) -> None:
    """Raises TrialFailed when file, process or boot differ from those of _leave_mark()."""
    if await shell.boot_id() != boot_id:
        raise TrialFailed("memory_lost", f"{shell.node} was rebooted: its memory was lost")
    if await shell.run(f"cat {_FILE} || true") != "mark":
        raise TrialFailed("file_lost", f"a file on {shell.node} was changed or lost")
    if await shell.run(f"cat /proc/{process}/comm || true") != "sleep":
        raise TrialFailed("process_lost", f"a process on {shell.node} no longer runs")


async def _ready_checkpoint(session: Session, after: int) -> Checkpoint | None:
    """The checkpoint, once it is ready. Raises TrialFailed when it failed."""
    found = [one for one in await session.api.checkpoints(session.fork) if one.name == CHECKPOINT]
    if not found:
        events = await session.api.all_events(session.fork)
        reports = [event for event in events if event.id > after and event.type == "cluster.checkpoint"]
        code, reason = (reports[-1].code, reports[-1].message) if reports else (None, "no event has a reason")
        raise TrialFailed(code or "checkpoint_lost", f"the checkpoint does not exist: {reason}")
    session.show_progress(f"checkpoint: {found[0].phase}")
    return found[0] if found[0].phase == "ready" else None
