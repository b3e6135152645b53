"""Checkpoints, templates and pools as text, for standard output. Clusters are in cluster_output.py."""

from __future__ import annotations

from collections.abc import Sequence

from dayfly.cli.formatting import (
    format_age,
    format_duration,
    format_facts,
    format_nodes,
    format_size,
    format_table,
    printable_line,
)
from dayfly.client import Checkpoint, Cluster, Period, Pool, Step, Template, TemplateError


def checkpoints(found: Sequence[Checkpoint]) -> str:
    rows = [(one.name, one.phase, _size(one.size_bytes), format_age(one.created_at)) for one in found]
    return format_table(("NAME", "PHASE", "SIZE", "AGE"), rows)


def templates(found: Sequence[Template]) -> str:
    return format_table(
        ("ID", "OWNER", "PHASE", "IMAGE", "NODES", "SIZE", "USES", "FORKS", "AGE"),
        [
            (
                *(one.id, one.owner, one.phase, one.image, str(1 + one.workers.count), _size(one.size_bytes)),
                *(str(one.uses), str(one.forks), format_duration(one.age_seconds)),
            )
            for one in found
        ],
    )


def template(one: Template) -> str:
    facts = {
        "id": one.id,
        "phase": one.phase,
        **_shape(one),
        "made from": f"cluster {one.parents.builder}, image {one.parents.image}",
        "size": _size(one.size_bytes),
        "age": format_duration(one.age_seconds),
        "forks": f"{one.forks} of {one.uses} exist, {one.failures} failed since the last success",
        "last used": f"{format_age(one.last_used_at)} ago" if one.last_used_at else "never",
    }
    return format_facts(facts) + (f"\n\n{_error(one.error)}" if one.error else "")


def pools(found: Sequence[Pool]) -> str:
    return format_table(
        ("NAME", "OWNER", "IMAGE", "NODES", "DESIRED", "READY", "PROVISIONING", "CONDITION"),
        [
            (
                *(one.name, one.owner, one.image, str(1 + one.workers.count)),
                *(str(one.desired_size), str(one.ready), str(one.provisioning)),
                one.condition.code if one.condition else "-",
            )
            for one in found
        ],
    )


def pool(one: Pool) -> str:
    facts = {
        "name": one.name,
        "id": one.id,
        **_shape(one),
        "size": f"{one.desired_size} now; {one.size} outside of the schedule, {one.maximum} at most",
        "members": f"{one.ready} ready, {one.provisioning} being provisioned",
        "schedule": "; ".join(map(_period, one.schedule)) or "none",
        "max age": format_duration(one.max_age_seconds),
        "not filled": f"{one.condition.message} [{one.condition.code}]" if one.condition else None,
    }
    return format_facts(facts)


def sentence(one: Pool) -> str:
    return f"pool {one.name}: {one.ready} of {one.desired_size} ready, {one.provisioning} being provisioned"


def checkpoint_sentence(one: Checkpoint) -> str:
    return f"checkpoint {one.name} is {'being created' if one.phase == 'creating' else one.phase}"


def snapshot_progress(one: Checkpoint | Template) -> str:
    if not one.size_bytes:
        return one.phase
    size = format_size(one.size_bytes)
    return f"saving, {size} so far" if one.phase in {"building", "creating"} else f"{one.phase}, {size}"


def template_progress(one: Template, builder: Cluster | None) -> str:
    """What happens to the template; with the steps that its `builder` is at."""
    steps = [step for step in builder.steps if step.finished_at is None] if builder else []
    words = "; ".join(_step(step) for step in steps)
    return f"{snapshot_progress(one)}: {words}" if words else snapshot_progress(one)


def pool_progress(one: Pool) -> str:
    condition = f"; {printable_line(one.condition.message)} [{one.condition.code}]" if one.condition else ""
    return f"{one.ready} of {one.desired_size} ready, {one.provisioning} being provisioned{condition}"


def _size(size_bytes: int) -> str:
    """The size; unknown before the snapshot is saved."""
    return format_size(size_bytes) if size_bytes else "-"


def _step(step: Step) -> str:
    """`node01 boot`, `init (waits for the API server)`."""
    name = f"{step.node} {step.name}" if step.node else step.name
    return f"{name} ({printable_line(step.detail)})" if step.detail else name


def _shape(one: Template | Pool) -> dict[str, str]:
    version = f"Kubernetes {one.kubernetes_version}" if one.kubernetes_version else "no Kubernetes"
    return {
        "owner": one.owner,
        "image": f"{one.image} ({version}), {one.readiness}",
        **format_nodes(one.control_plane, one.workers),
    }


def _error(error: TemplateError) -> str:
    lines = [f"error [{error.code}]: {printable_line(error.message)}"]
    if error.evidence:
        lines.append(f"evidence    {', '.join(error.evidence)}")
    if error.cluster:
        lines.append(f"hint: dayfly cluster diagnostics {error.cluster}")
    return "\n".join(lines)


def _period(one: Period) -> str:
    return f"{','.join(one.days)} {one.since}-{one.until} {one.size}"
