"""Presents the catalog of node images as responses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from dayfly.api.dependencies import ApiServices
from dayfly.domain.addon import AddonDefinition
from dayfly.domain.image import ImageManifest
from dayfly.domain.image_catalog import (
    EngineImage,
    ImageChange,
    ImageOutcomes,
    ImageRecord,
    NameReference,
    by_name,
    image_of_version,
    latest_reference,
    parse_reference,
    promoted_line,
)
from dayfly.schemas import images as schemas
from dayfly.vocabulary import AddonSource, ImageState


@dataclass(frozen=True)
class Catalog:
    """All that is known of node images at one moment. `records`: by id; `history` and `lines`: by name."""

    present: tuple[EngineImage, ...]
    records: Mapping[str, ImageRecord]
    history: Mapping[str, tuple[ImageChange, ...]]
    lines: Mapping[str, tuple[ImageChange, ...]]
    clusters: Mapping[str, int]
    templates: Mapping[str, int]
    pools: Mapping[str, int]
    outcomes: Mapping[str, ImageOutcomes]
    window_seconds: int
    addons: Mapping[str, AddonDefinition]
    bases: Mapping[str, str | None]
    now: datetime

    def names(self) -> frozenset[str]:
        """The names that callers may use, those of the history included."""
        return frozenset(self.history).union(*(image.names for image in self.present))

    def current(self, name: str) -> str | None:
        """The digest that callers of the name get."""
        if line := self.lines.get(name):
            return line[0].image_id
        latest = latest_reference(name)
        found = next((image.id for image in self.present if latest in image.references), None)
        # A bake with the inputs of a retired image gives that image the tag, and no cluster may use it.
        return None if found is None or self._state_of(found) is ImageState.RETIRED else found

    def images(self, *, collected: bool) -> Iterator[schemas.NodeImage]:
        """Each image under each of its names: by name, the newest first."""
        for name in sorted(self.names()):
            yield from self.of_name(name, collected=collected)
        for image in self.present:
            if not image.names and image.references:
                yield self._shown(image.references[0], image)

    def of_name(self, name: str, *, collected: bool) -> Iterator[schemas.NodeImage]:
        ids = {change.image_id for change in self.history.get(name, ())}
        found = {image.id: image for image in self.present if name in image.names or image.id in ids}
        gone = [record for record in self.records.values() if record.id in ids and record.id not in found]
        every: list[EngineImage | ImageRecord] = [*found.values(), *gone]
        for image in sorted(every, key=lambda one: (one.created_at, one.id), reverse=True):
            if collected or image.id in found:
                yield self._shown(name, image)

    def _state_of(self, image_id: str) -> ImageState:
        record = self.records.get(image_id)
        return record.state if record is not None else ImageState.PRESENT

    def _shown(self, name: str, image: EngineImage | ImageRecord) -> schemas.NodeImage:
        manifest, record = image.manifest, self.records.get(image.id)
        contents = image.contents if isinstance(image, EngineImage) else None
        state = self._state_of(image.id)
        if state is ImageState.COLLECTED and isinstance(image, EngineImage):
            state = ImageState.PRESENT  # it was pulled again
        line, outcomes = self.lines.get(name, ()), self.outcomes.get(image.id, ImageOutcomes())
        return schemas.NodeImage(
            name=name,
            digest=image.id,
            references=tuple(sorted(image.references)) if isinstance(image, EngineImage) else (),
            state=state,
            promoted=bool(line) and line[0].image_id == image.id,
            current=self.current(name) == image.id,
            recipe=manifest.recipe,
            base=contents.base if contents and contents.base else self.bases.get(manifest.recipe),
            kubernetes_version=manifest.kubernetes.version if manifest.kubernetes else None,
            packages=contents.packages if contents else None,
            addons=tuple(sorted(one.name for one in self.addons.values() if _is_inside(one, manifest))),
            parents=manifest.parents,
            size_bytes=image.size_bytes,
            created_at=image.created_at,
            age_seconds=round(max(0.0, (self.now - image.created_at).total_seconds()), 3),
            retired_at=record.retired_at if record is not None else None,
            collected_at=record.collected_at if record is not None else None,
            use=schemas.ImageUse(
                clusters=self.clusters.get(image.id, 0),
                templates=self.templates.get(image.id, 0),
                pools=self.pools.get(image.id, 0),
            ),
            outcomes=schemas.ImageOutcomes(
                window_seconds=self.window_seconds,
                ready=outcomes.ready,
                failed=outcomes.failed,
                failure_rate=outcomes.failure_rate,
            ),
        )


async def read_catalog(services: ApiServices, window_seconds: int) -> Catalog:
    """Raises EngineUnavailable, DatabaseUnavailable."""
    present = await services.lookups.bounded(services.present_images())
    store = services.store
    records = {record.id: record for record in await store.images.records()}
    history = by_name(await store.images.changes())
    recipes = {image.manifest.recipe for image in present} | {one.manifest.recipe for one in records.values()}
    lines = {name: promoted_line(changes) for name, changes in history.items()}
    return Catalog(
        present=present,
        records=records,
        history=history,
        lines=lines,
        clusters=await store.image_uses.of_clusters(),
        templates=await store.image_uses.of_templates(),
        pools=_pools(await store.image_uses.of_pools(), lines, present, records),
        outcomes=await store.image_uses.outcomes(window_seconds),
        window_seconds=window_seconds,
        addons=services.addons,
        bases={recipe: services.base_of(recipe) for recipe in recipes},
        now=services.clock.now(),
    )


def show_name(catalog: Catalog, name: str, *, collected: bool) -> schemas.ImageName:
    line, history = catalog.lines.get(name, ()), catalog.history.get(name, ())
    return schemas.ImageName(
        name=name,
        promoted=line[0].image_id if line else None,
        current=catalog.current(name),
        images=tuple(catalog.of_name(name, collected=collected)),
        history=tuple(
            schemas.ImageHistoryEntry(at=change.at, event=change.event, digest=change.image_id)
            for change in reversed(history)
        ),
    )


def _pools(
    requested: Mapping[tuple[str, str], int],
    lines: Mapping[str, Sequence[ImageChange]],
    present: Sequence[EngineImage],
    records: Mapping[str, ImageRecord],
) -> Mapping[str, int]:
    """Image id → the pools that are filled from it now: a pool that was created by a name follows the name."""
    found: Counter[str] = Counter()
    for (reference, image_id), number in requested.items():
        parsed = parse_reference(reference)
        now = image_id if parsed is None or not parsed.moves else _stands_for(parsed, lines, present, records)
        found[now or image_id] += number
    return found


def _stands_for(
    reference: NameReference,
    lines: Mapping[str, Sequence[ImageChange]],
    present: Sequence[EngineImage],
    records: Mapping[str, ImageRecord],
) -> str | None:
    line = lines.get(reference.name, ())
    if reference.version is not None:
        retired = {record.id for record in records.values() if record.state is ImageState.RETIRED}
        image = image_of_version(reference.name, reference.version, line, present, lambda one: one not in retired)
        return None if image is None else image.id
    if line:
        return line[0].image_id
    latest = latest_reference(reference.name)
    return next((image.id for image in present if latest in image.references), None)


def _is_inside(addon: AddonDefinition, manifest: ImageManifest) -> bool:
    recipes = {manifest.recipe, *manifest.parent_recipes}
    return addon.source is AddonSource.BAKED and not recipes.isdisjoint(addon.recipes)
