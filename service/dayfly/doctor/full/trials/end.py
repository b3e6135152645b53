"""The trials of the end: everything deleted, nothing for `gc`, nothing on the engine; and cleaning up."""

from __future__ import annotations

from typing import Final

from dayfly.doctor.full.report import TrialFailed
from dayfly.doctor.full.session import PURPOSES, Session
from dayfly.doctor.full.trials.saved import CHECKPOINT
from dayfly.doctor.full.trials.transfer import require_images
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Purpose
from dayfly.domain.engine_resource import EngineResource
from dayfly.errors import DayflyError
from dayfly.store import Store

_ORDER: Final = ("container", "network", "volume")


async def delete_all(session: Session) -> str:
    """Checkpoint, clusters, template, by the API: those of trials that failed, too."""
    api = session.api
    if session.fork:
        await _delete_checkpoint(session)
    living = await api.list(purposes=PURPOSES)
    for one in await api.list():
        await api.delete(one.id)
    for one in await api.list():
        await session.until(one.id, "deleted")
    templates = [one.id for one in await api.templates()]
    for template_id in templates:
        await api.delete_template(template_id)

    async def gone() -> bool | None:
        left = [f"template {one.id} is {one.phase}" for one in await api.templates() if one.phase != "failed"]
        left += [f"cluster {one.name} is {one.phase}" for one in await api.list(purposes=PURPOSES)]
        # A template's volume goes with the next survey.
        left += [f"{one.kind} {one.name} is there" for one in await session.infrastructure.engine.list_resources()]
        session.says("; ".join(left))
        return None if left else True

    await session.poll(gone)
    return f"{len(living)} clusters and {len(templates)} templates are deleted"


async def look_for_strays(session: Session) -> str:
    """What `dayfly gc --dry-run` would list."""
    orphans = await session.api.orphans()
    if orphans:
        listed = ", ".join(f"{orphan.kind} {orphan.name} ({orphan.why})" for orphan in orphans)
        raise TrialFailed("strays", f"`dayfly gc` would remove {listed}")
    return "`dayfly gc --dry-run` lists nothing"


async def look_for_rest(session: Session) -> str:
    """On the engine, by label and by name; and the node image as it was before."""
    labelled = [f"{resource.kind} {resource.name}" for resource in await session.infrastructure.engine.list_resources()]
    if labelled:
        raise TrialFailed("left_over", f"by label, the engine still has {', '.join(sorted(labelled))}")
    named = await _named(session)
    if named:
        raise TrialFailed("left_over", f"by name, the engine still has {', '.join(named)}")
    await require_images(session, "in the end")
    return "no container, volume, network or image more than before, by label and by name"


async def clean_up(session: Session) -> str:
    """Ends the service, and removes all that carries its label, whatever failed before."""
    session.says("the service's end")
    trouble, removed = "", 0
    try:
        ended = await session.service.end()
    except TrialFailed as error:
        ended, trouble = "", f"{error.message}; "
    for reference in tuple(session.references):
        await session.infrastructure.images.remove(reference)
    while resources := await session.infrastructure.engine.list_resources():
        session.says(f"{len(resources)} things on the engine are removed")
        removed += await _discard(session, resources)
    named = await _named(session)
    if named:
        trouble += f"the engine still has {', '.join(named)}, without this instance's label: remove it by hand"
    if trouble:
        raise TrialFailed("not_cleaned_up", trouble.rstrip("; "))
    rest = f"{removed} things that trials had left were removed" if removed else "trials had left nothing"
    return f"{ended}; {rest}"


async def _discard(session: Session, resources: tuple[EngineResource, ...]) -> int:
    """How many were removed. Raises TrialFailed where none could be."""
    removed, refused = 0, []
    for resource in sorted(resources, key=lambda one: _ORDER.index(one.kind)):
        try:
            await session.infrastructure.engine.discard(resource)
            removed += 1
        except DayflyError as error:
            refused.append(f"{resource.kind} {resource.name}: {error.message}")
    if not removed:
        raise TrialFailed("not_cleaned_up", f"the engine keeps {'; '.join(refused)}")
    return removed


async def _delete_checkpoint(session: Session) -> None:
    """Of a fork that is ready and has one; after a failed trial it goes with its cluster."""
    seen = await session.api.get(session.fork)
    if seen.phase != "ready" or not await session.api.checkpoints(session.fork):
        return
    await session.api.delete_checkpoint(session.fork, CHECKPOINT)

    async def gone() -> bool | None:
        found = await session.api.checkpoints(session.fork)
        session.says("; ".join(f"checkpoint {one.name} is {one.phase}" for one in found))
        return None if found else True

    await session.poll(gone)


async def _named(session: Session) -> list[str]:
    """`kind name` of what has the id of a cluster or template of this service in its name, or was a volume of one."""
    ids = await _ids(session)
    present = await session.names.all_names()
    return sorted(
        name for name in present if any(one in name for one in ids) or name.removeprefix("volume ") in session.volumes
    )


async def _ids(session: Session) -> frozenset[str]:
    """Of all clusters and templates that were ever on the service's record."""
    if session.service.running:
        clusters = await session.api.list(phases=tuple(Phase), purposes=PURPOSES)
        templates_on_record = await session.api.templates(gone=True)
        return frozenset({*(one.id for one in clusters), *(one.id for one in templates_on_record)})
    if not (session.settings.state_dir / "dayfly.db").exists():
        return frozenset()
    store = await Store.open(session.settings.database)
    try:
        page = await store.list_clusters(phases=tuple(Phase), purposes=tuple(Purpose), limit=1000)
        templates = await store.list_templates(gone=True)
    finally:
        await store.close()
    return frozenset({*(one.id for one in page.clusters), *(one.id for one in templates)})
