"""`dayfly status`: the whole installation at a glance."""

from __future__ import annotations

from dayfly.cli.emit import emit
from dayfly.cli.formatting import format_age, format_facts, format_table
from dayfly.cli.options import Json, Output
from dayfly.client import Client, Status


def status(output: Output = None, as_json: Json = False) -> None:
    """Show the host's capacity and its use by owner, the queue, pools, templates and the engine."""
    with Client() as client:
        found = client.status()
    emit(found, _text(found), output, as_json)


def _text(found: Status) -> str:
    engine, queue = found.engine, found.queue
    waiting = f"{queue.waiting} waiting"
    if queue.oldest_at is not None:
        waiting += f", the oldest for {format_age(queue.oldest_at)}"
    facts = {
        "server": f"{found.version}, instance {found.instance}",
        "engine": engine.error
        or f"{engine.name} {engine.version} (API {engine.api_version}, {engine.image_store}), Linux {engine.kernel}",
        "clusters": _numbers(found.clusters),
        "queue": waiting,
        "templates": _numbers(found.templates),
    }
    parts = [format_facts(facts), _capacity(found)]
    if found.owners:
        rows = [
            (one.owner, one.clusters, one.waiting, one.reserved.vcpus, one.reserved.memory_mib, one.reserved.disk_gib)
            for one in found.owners
        ]
        header = ("OWNER", "CLUSTERS", "WAITING", "VCPUS", "MEMORY MIB", "DISK GIB")
        parts.append(format_table(header, [tuple(map(str, row)) for row in rows]))
    if found.pools:
        pools = [
            (one.name, one.owner, f"{one.ready}/{one.desired_size}", str(one.provisioning), one.condition or "-")
            for one in found.pools
        ]
        parts.append(format_table(("POOL", "OWNER", "READY", "PROVISIONING", "CONDITION"), pools))
    return "\n\n".join(parts)


def _capacity(found: Status) -> str:
    host = found.host
    columns = {"HOST": host.capacity, "FOR CLUSTERS": host.offered, "RESERVED": host.reserved}
    sizes = {"vCPUs": "vcpus", "memory MiB": "memory_mib", "disk GiB": "disk_gib"}
    rows = [
        (label, *("unknown" if one is None else str(getattr(one, name)) for one in columns.values()))
        for label, name in sizes.items()
    ]
    return format_table(("RESOURCE", *columns), rows)


def _numbers(counted: dict[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in counted.items() if number) or "none"
