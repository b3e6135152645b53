"""Maps rows to domain values and back. Not here: which rows (clusters/queries.py, clusters/leases.py, …)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, Final

from pydantic import TypeAdapter
from sqlalchemy import Row

from dayfly.domain.addon import AddonError, AddonStatus
from dayfly.domain.checkpoint import Checkpoint, CheckpointPhase
from dayfly.domain.cluster.boot_source import BootSource
from dayfly.domain.cluster.lifecycle import Desired, Phase
from dayfly.domain.cluster.model import Cluster, Endpoint, Event, Fault, Hold, NewEvent, Purpose, StepReport, StepState
from dayfly.domain.cluster.spec import ClusterSpec
from dayfly.domain.pool import Period, Pool, PoolCondition
from dayfly.domain.scheduling.resources import Resources, demand
from dayfly.domain.template import Template
from dayfly.errors import MESSAGE_CHARACTERS, shorten
from dayfly.store.db.stored_names import CODES, STEPS, present, stored
from dayfly.store.db.tables import clusters
from dayfly.vocabulary import AddonState, TemplatePhase

_BREAK: Final = re.compile(r"\r\n|[\t-\r\x85\u2028\u2029]")
"""What may end or indent a line."""
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SCHEDULE: Final = TypeAdapter(tuple[Period, ...])
_CLUSTER_FIELDS: Final = tuple(field.name for field in fields(Cluster))


def cluster_from(row: Row[Any]) -> Cluster:
    """A row of `clusters`. The fault has no evidence: evidence has its own table."""
    columns = row._asdict() | {
        "spec": ClusterSpec.model_validate(row.spec),
        "desired": Desired(row.desired),
        "phase": Phase(row.phase),
        "endpoints": {int(inside): Endpoint(**outside) for inside, outside in row.endpoints.items()},
        "fault": _fault_from(row.fault),
        "hold": None if row.hold_until is None else Hold(row.hold_until, row.hold_reason, row.hold_vms),
        "purpose": Purpose(row.purpose),
        "boot_source": BootSource.parse(row.origin) if row.origin else None,
        "reset_to": BootSource.parse(row.reset_to) if row.reset_to else None,
        "addons": tuple(map(_addon_from, row.addons or ())),
    }
    return Cluster(**{name: columns[name] for name in _CLUSTER_FIELDS})


def cluster_columns(cluster: Cluster) -> dict[str, Any]:
    """The row of `cluster`, without the columns that are no part of it: due time, lease, reserved resources."""
    return {name: value for name, value in vars(cluster).items() if name in clusters.c} | {
        "spec": cluster.spec.model_dump(mode="json"),
        "shape": cluster.spec.shape,
        "fault": None if cluster.fault is None else fault_columns(cluster.fault),
        "origin": None if cluster.boot_source is None else str(cluster.boot_source),
        "reset_to": None if cluster.reset_to is None else str(cluster.reset_to),
        **endpoint_columns(cluster.endpoints),
        **addon_columns(cluster.addons),
        **hold_columns(cluster.hold),
    }


def endpoint_columns(endpoints: Mapping[int, Endpoint]) -> dict[str, object]:
    return {"endpoints": {str(inside): vars(outside) for inside, outside in endpoints.items()}}


def hold_columns(hold: Hold | None) -> dict[str, object]:
    if hold is None:
        return {"hold_until": None, "hold_reason": None, "hold_vms": None}
    return {"hold_until": hold.until, "hold_reason": storable(hold.reason), "hold_vms": hold.vms}


def _addon_from(kept: dict[str, Any]) -> AddonStatus:
    why = None if kept["error"] is None else AddonError(**_reason_from(kept["error"]))
    return AddonStatus(kept["name"], AddonState(kept["state"]), why)


def addon_columns(addons: Iterable[AddonStatus]) -> dict[str, object]:
    """The states of a cluster's add-ons, as JSON."""
    kept = [{"name": one.name, "state": one.state, "error": one.error and reason_columns(one.error)} for one in addons]
    return {"addons": kept or None}


def needs_from(row: Row[*tuple[Any, ...]]) -> Resources:
    """The host's resources of a row of `clusters`; from the spec if an older Dayfly wrote the row without columns."""
    needs = Resources(row.vcpus, row.memory_mib, row.disk_gib)
    # All zero only in rows of an older Dayfly: a hibernated cluster has disk.
    if needs == Resources() and row.spec is not None:
        return demand(ClusterSpec.model_validate(row.spec))
    return needs


def needs_columns(needs: Resources) -> dict[str, int]:
    return vars(needs).copy()


def step_from(row: Row[Any]) -> StepReport:
    columns = row._asdict()
    del columns["id"], columns["cluster_id"]
    return StepReport(**{**columns, "node": row.node or None, "state": StepState(row.state)})


def event_from(row: Row[Any]) -> Event:
    names = ("id", "at", "type", "message", "step", "node", "seconds", "code")
    return Event(**{name: getattr(row, name) for name in names})


def template_from(row: Row[Any]) -> Template:
    """A row of `templates`, with the count `forks`."""
    columns = row._asdict()
    del columns["gone_at"]
    columns["spec"] = ClusterSpec.model_validate(row.spec)
    columns["phase"] = TemplatePhase(row.phase)
    columns["fault"] = _fault_from(row.fault)
    return Template(**columns)


def checkpoint_from(row: Row[Any]) -> Checkpoint:
    return Checkpoint(row.cluster_id, row.name, CheckpointPhase(row.phase), row.created_at, row.size_bytes)


def pool_from(row: Row[Any]) -> Pool:
    columns = row._asdict()
    columns["spec"] = ClusterSpec.model_validate(row.spec)
    columns["schedule"] = _SCHEDULE.validate_python(row.schedule)
    waiting = columns.pop("waiting")
    columns["condition"] = PoolCondition(**_reason_from(waiting)) if waiting else None
    return Pool(**columns)


def pool_columns(pool: Pool) -> dict[str, object]:
    """A pool's row, without `waiting`, which workers write."""
    columns = vars(pool) | {
        "spec": pool.spec.model_dump(mode="json"),
        "schedule": _SCHEDULE.dump_python(pool.schedule, mode="json"),
    }
    del columns["condition"]
    return columns


def reason_columns(reason: AddonError | Fault | PoolCondition) -> dict[str, str]:
    """A code and its message, as JSON."""
    return {"code": stored(CODES, reason.code), "message": plain(reason.message)}


def _reason_from(kept: Mapping[str, Any]) -> dict[str, Any]:
    return {"code": present(CODES, kept["code"]), "message": kept["message"]}


def _fault_from(kept: dict[str, Any] | None) -> Fault | None:
    if not kept:
        return None
    step = kept["step"]
    return Fault(**_reason_from(kept), step=None if step is None else present(STEPS, step), node=kept["node"])


def fault_columns(fault: Fault) -> dict[str, str | None]:
    """A fault as JSON, without its evidence."""
    step = None if fault.step is None else stored(STEPS, fault.step)
    return {**reason_columns(fault), "step": step, "node": fault.node}


def step_columns(report: StepReport) -> dict[str, object]:
    """The columns of a report, without its cluster."""
    return {**vars(report), "node": report.node or "", "detail": plain(report.detail)}


def event_columns(event: NewEvent) -> dict[str, object]:
    """The columns of an event, without cluster and time."""
    return {**vars(event), "message": plain(event.message)}


def plain(text: str) -> str:
    """`text` as one line of at most MESSAGE_CHARACTERS: guests and their API servers write parts of messages.

    Line breaks become spaces, so that no message looks like two; control characters become U+FFFD.
    """
    # Cut first: a text may have many MiB.
    line = _CONTROL.sub("\ufffd", _BREAK.sub(" ", storable(text[: 2 * MESSAGE_CHARACTERS])))
    return shorten(line)


def storable(text: str) -> str:
    """`text` with U+FFFD for characters that PostgreSQL rejects: NUL (serial consoles print it), lone surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def storable_tail(text: str, limit_bytes: int) -> str:
    """The last `limit_bytes` of `text` in UTF-8, from the first whole character on."""
    return storable(text).encode()[-limit_bytes:].decode(errors="ignore")
