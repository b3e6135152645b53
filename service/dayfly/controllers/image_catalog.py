"""Resolves references of node images on the engine, as the catalog has promoted them; finds images to promote.

A reference is resolved once, to one content id: whatever is made of it is wholly of one image. Not here: what a
reference means (domain/image_catalog.py), the history of names (store/image_catalog.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from dayfly.domain.cluster.naming import LABEL_CONTENTS, image_reference
from dayfly.domain.image import ImageManifest, read_contents
from dayfly.domain.image_catalog import (
    EngineImage,
    NameReference,
    image_of_version,
    kept_reference,
    latest_reference,
    parse_reference,
    promoted_line,
)
from dayfly.drivers.interfaces import ImageStore
from dayfly.errors import DayflyError, ImageMissing, ImageRetired
from dayfly.images.node_images import check_name, list_images, resolve_image
from dayfly.images.recipe import load_recipe
from dayfly.store import Store
from dayfly.vocabulary import ImageState

_DIGEST_PREFIX: Final = re.compile(r"(sha256:)?([0-9a-f]{12,64})")


@dataclass(frozen=True)
class ImageCatalog:
    """The catalog of one installation. All methods may raise EngineUnavailable and DatabaseUnavailable."""

    images: ImageStore
    store: Store

    async def resolve(self, reference: str) -> tuple[str, ImageManifest]:
        """The content id and the manifest of the image at a full reference.

        Raises ImageMissing, which names what there is, ImageRetired, NotANodeImage.
        """
        image_id, manifest = await self._resolve(reference)
        if await self.store.images.is_retired(image_id):
            why = f"image {reference} ({image_id}) is retired: no new cluster may use it"
            raise ImageRetired(f"{why} until it is promoted: `dayfly image promote`")
        return image_id, manifest

    async def present(self) -> tuple[EngineImage, ...]:
        """All node images on the engine, the newest first."""
        return tuple(
            EngineImage(
                one.info.id,
                one.info.references,
                one.manifest,
                one.info.size_bytes,
                one.info.created_at,
                read_contents(one.info.labels.get(LABEL_CONTENTS), one.manifest),
            )
            for one in await list_images(self.images)
        )

    async def find(self, name: str, image: str | None) -> EngineImage:
        """The image that a request about `name` means: a digest or its first 12 digits at least, or a reference.

        None: the last baked or pulled one. A retired one, too. Raises ImageMissing, NotANodeImage.
        """
        present = await self.present()
        digest = _DIGEST_PREFIX.fullmatch(image or "")
        if image is None:
            found = [one for one in present if latest_reference(name) in one.references]
        elif digest is not None:
            found = [one for one in present if one.id.rpartition(":")[2].startswith(digest[2])]
        else:
            reference = image_reference(image)
            parsed = parse_reference(reference)
            if parsed is not None and parsed.digest is not None:
                return await self.find(name, parsed.digest)
            image_id, _ = await self._resolve(reference)
            found = [one for one in present if one.id == image_id]
        if len(found) != 1:
            wanted = image or latest_reference(name)
            why = f"{len(found)} images begin with {wanted}" if found else f"there is no image {wanted} on this engine"
            raise ImageMissing(f"{why}; {await self._what_there_is()}")
        return found[0]

    async def keep(self, name: str, image: EngineImage) -> None:
        """Tag an image that is to be promoted, so that later bakes, which remove their older tags, keep it.

        Raises BadName for a name that no image can have on the engine.
        """
        check_name(name)
        await self.images.tag(image.id, kept_reference(name, image.id))

    async def promote(self, name: str, image_id: str) -> None:
        """Let the name stand for an image of the engine. Raises ImageMissing, Conflict, BadName."""
        image = await self.find(name, image_id)
        await self.keep(name, image)
        try:
            await self.store.images.promote(name, image)
        except DayflyError:
            await self.release(name, image)
            raise

    async def release(self, name: str, image: EngineImage) -> None:
        """Undo keep() for an image that was not promoted; `image` as it was found before."""
        tag = kept_reference(name, image.id)
        line = promoted_line(await self.store.images.changes(name))
        if image.id in {change.image_id for change in line}:
            return  # another request at the same time promoted it, or this one, and the database's answer was lost
        if tag not in image.references and image.references:  # else it would go with its last tag
            await self.images.remove(tag)

    async def _resolve(self, reference: str) -> tuple[str, ImageManifest]:
        """As resolve, retired images included."""
        try:
            exact = await self._exact(reference, parse_reference(reference))
            return await resolve_image(self.images, exact)
        except ImageMissing as error:
            of = "" if reference in error.message else f"{reference}: "
            raise ImageMissing(f"{of}{error.message}; {await self._what_there_is()}") from error

    async def _exact(self, reference: str, parsed: NameReference | None) -> str:
        """A reference or an id that the engine resolves. Raises ImageMissing."""
        if parsed is None:
            return reference
        if parsed.digest is not None:
            # The engine's own digests of repositories are valid as well: those of images that a registry has.
            known = parsed.digest in {image.id for image in await self.present()}
            return parsed.digest if known else reference
        line = promoted_line(await self.store.images.changes(parsed.name))
        if parsed.version is None:
            return line[0].image_id if line else reference
        records = await self.store.images.records()
        retired = {record.id for record in records if record.state is ImageState.RETIRED}
        found = image_of_version(
            parsed.name, parsed.version, line, await self.present(), lambda image_id: image_id not in retired
        )
        if found is None:
            what = "promoted image" if line else "image"
            raise ImageMissing(f"{parsed.name} has no {what} with Kubernetes {parsed.version}")
        return found.id

    async def _what_there_is(self) -> str:
        try:
            present = await self.present()
        except DayflyError:
            return "the engine did not list its images"
        return f"there are: {_summary(present)}" if present else "there is none: `dayfly image bake` makes one"


@cache
def base_of(recipe: str) -> str | None:
    """The base of the recipe, as this release has it; None: this release has no such recipe."""
    try:
        return load_recipe(recipe).base
    except DayflyError:
        return None


def _summary(images: Sequence[EngineImage]) -> str:
    """`k8s-debian (v1.20.2), bare`."""
    named: dict[str, set[str]] = {}
    for image in images:
        for name in image.names or image.references:
            named.setdefault(name, set()).update([image.version] if image.version else [])
    return ", ".join(f"{name} ({', '.join(sorted(v))})" if v else name for name, v in sorted(named.items()))
