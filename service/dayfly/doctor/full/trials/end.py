"""The last trials: deletion by the API, no orphans, an empty engine; and the clean-up."""

from __future__ import annotations

from typing import Final

from dayfly.doctor.full.report import TrialFailed
from dayfly.doctor.full.session import PURPOSES, Session
from dayfly.doctor.full.trials.saved import CHECKPOINT
from dayfly.doctor.full.trials.transfer import require_images
from dayfly.domain.cluster.lifecycle import Phase
from dayfly.domain.cluster.model import Purpose
from dayfly.domain.cluster.naming import LABEL_IMAGE
from dayfly.domain.engine_resource import EngineResource
from dayfly.domain.image_catalog import is_in_use_reference
from dayfly.errors import DayflyError
from dayfly.store import Store

_ORDER: Final = ("container", "network", "volume")


async def delete_all(session: Session) -> str:
    """Deletes checkpoint, clusters and templates by the API, those of failed trials, too."""
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
        # The next garbage collection removes a template's volume.
        left += [f"{one.kind} {one.name} exists" for one in await session.infrastructure.engine.list_resources()]
        session.show_progress("; ".join(left))
        return None if left else True

    await session.poll(gone)
    return f"{len(living)} clusters and {len(templates)} templates are deleted"


async def check_no_orphans(session: Session) -> str:
    """`dayfly gc --dry-run` lists no orphans."""
    orphans = await session.api.orphans()
    if orphans:
        listed = ", ".join(f"{orphan.kind} {orphan.name} ({orphan.why})" for orphan in orphans)
        raise TrialFailed("orphans", f"`dayfly gc` would remove {listed}")
    return "`dayfly gc --dry-run` lists nothing"


async def check_nothing_left(session: Session) -> str:
    """The engine has no objects of the examination, by label and by name, and the node image as before."""
    labelled = [f"{resource.kind} {resource.name}" for resource in await session.infrastructure.engine.list_resources()]
    if labelled:
        raise TrialFailed("left_over", f"by label, the engine still has {', '.join(sorted(labelled))}")
    named = await _left_by_name(session)
    if named:
        raise TrialFailed("left_over", f"by name, the engine still has {', '.join(named)}")
    await require_images(session, "in the end")
    return "no new container, volume, network or image, by label and by name"


async def clean_up(session: Session) -> str:
    """Ends the service, and removes all objects with its label, whatever failed before."""
    session.show_progress("the service's end")
    failures, removed = "", 0
    try:
        ended = await session.service.end()
    except TrialFailed as error:
        ended, failures = "", f"{error.message}; "
    for reference in (*session.references, *await _in_use_tags(session)):
        await session.infrastructure.images.remove(reference)
    while resources := await session.infrastructure.engine.list_resources():
        session.show_progress(f"the removal of {len(resources)} objects on the engine")
        removed += await _discard(session, resources)
    named = await _left_by_name(session)
    if named:
        failures += f"the engine still has {', '.join(named)}, without this instance's label: remove them by hand"
    if failures:
        raise TrialFailed("not_cleaned_up", failures.rstrip("; "))
    rest = f"{removed} objects of the trials were removed" if removed else "the trials left no objects"
    return f"{ended}; {rest}"


async def _in_use_tags(session: Session) -> tuple[str, ...]:
    """The tags that the service gave to images of its clusters, if it did not end in order."""
    present = await session.infrastructure.images.list(label=LABEL_IMAGE)
    own = session.settings.instance
    return tuple(name for image in present for name in image.references if is_in_use_reference(name, own))


async def _discard(session: Session, resources: tuple[EngineResource, ...]) -> int:
    """The number of removed resources. Raises TrialFailed when none could be removed."""
    removed, refused = 0, []
    for resource in sorted(resources, key=lambda one: _ORDER.index(one.kind)):
        try:
            await session.infrastructure.engine.discard(resource)
            removed += 1
        except DayflyError as error:
            refused.append(f"{resource.kind} {resource.name}: {error.for_operator}")
    if not removed:
        raise TrialFailed("not_cleaned_up", f"the engine keeps {'; '.join(refused)}")
    return removed


async def _delete_checkpoint(session: Session) -> None:
    """Delete the checkpoint of a ready fork. Otherwise, after a failed trial, it is deleted with its cluster."""
    seen = await session.api.get(session.fork)
    if seen.phase != "ready" or not await session.api.checkpoints(session.fork):
        return
    await session.api.delete_checkpoint(session.fork, CHECKPOINT)

    async def gone() -> bool | None:
        found = await session.api.checkpoints(session.fork)
        session.show_progress("; ".join(f"checkpoint {one.name} is {one.phase}" for one in found))
        return None if found else True

    await session.poll(gone)


async def _left_by_name(session: Session) -> list[str]:
    """`kind name` of objects with the id of a cluster or template in their name, and of volumes that a trial used."""
    ids = await _ids(session)
    present = await session.infrastructure.engine.all_names()
    return sorted(
        name for name in present if any(one in name for one in ids) or name.removeprefix("volume ") in session.volumes
    )


async def _ids(session: Session) -> frozenset[str]:
    """The ids of all clusters and templates, deleted ones included."""
    if session.service.running:
        clusters = await session.api.list(phases=tuple(Phase), purposes=PURPOSES)
        templates_on_record = await session.api.templates(retired=True)
        return frozenset({*(one.id for one in clusters), *(one.id for one in templates_on_record)})
    if not (session.settings.state_dir / "dayfly.db").exists():
        return frozenset()
    store = await Store.open(session.settings.database)
    try:
        page = await store.clusters.list(phases=tuple(Phase), purposes=tuple(Purpose), limit=1000)
        templates = await store.templates.list(retired=True)
    finally:
        await store.close()
    return frozenset({*(one.id for one in page.clusters), *(one.id for one in templates)})
