"""Node images on a fake engine, as bakes leave them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from dayfly.domain.image import ImageManifest
from dayfly.domain.image_catalog import EngineImage
from dayfly.testing.fake_images import FakeImages
from tests.support.specs import make_manifest

BORN = datetime(2026, 1, 1, tzinfo=UTC)


def manifest_of(digest: str, version: str | None = None, recipe: str = "k8s-test") -> ImageManifest:
    """Of the bake `digest`, 12 hexadecimal digits; of plain machines without `version`."""
    manifest = make_manifest(kubernetes=version is not None)
    if manifest.kubernetes is not None:
        kubernetes = manifest.kubernetes.model_copy(update={"version": version})
        manifest = manifest.model_copy(update={"kubernetes": kubernetes})
    return manifest.model_copy(update={"digest": digest, "recipe": recipe})


def baked(images: FakeImages, name: str, digest: str, version: str | None = "v1.20.2", *, days: int = 0) -> str:
    """An image as a bake leaves it, with the tags of its digest and `latest`; its id. `days`: its age in days."""
    made = images.add_node_image(f"dayfly/{name}:{digest}", manifest_of(digest, version).model_dump_json())
    images.stored[made.id] = replace(made, created_at=BORN - timedelta(days=days))
    images._name(made.id, f"dayfly/{name}:latest")
    return made.id


def on_engine(number: int, version: str | None = "v1.20.2", *references: str) -> EngineImage:
    """An image for tests without an engine; its id is made of `number`, a digit."""
    digest = f"{number:x}" * 12
    return EngineImage(
        f"sha256:{f'{number:x}' * 64}",
        references or (f"dayfly/k8s:{digest}",),
        manifest_of(digest, version),
        number << 20,
        BORN + timedelta(days=number),
    )
