"""The trial of node images in registries: the engine pushes the image under a temporary name, and pulls it back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from dayfly.doctor.full.registry_api import RegistryApi
from dayfly.doctor.full.report import TrialFailed
from dayfly.doctor.full.session import Session, images_of_bake
from dayfly.doctor.full.trials.saved import ready_fork
from dayfly.domain.cluster.naming import LABEL_IMAGE, split_tag
from dayfly.drivers.interfaces import TransferProgress
from dayfly.images.node_images import push_image

SLOW_SECONDS: Final = 60.0
"""The report mentions a push that takes longer."""


async def require_images(session: Session, when: str, *, besides: Collection[str] = ()) -> None:
    """Raises TrialFailed when the engine's images of this bake differ from before, apart from the names `besides`."""
    now = await images_of_bake(session.infrastructure.images, session.image.manifest_text, besides=besides)
    if now != session.image.before:
        found = f"{when} the engine has of this bake {_listed(now)}; before it had {_listed(session.image.before)}"
        raise TrialFailed("images_differ", found)


async def transfer_image(session: Session) -> str:
    """The image goes to the fork's registry and back, complete; its own names stay the same."""
    await ready_fork(session)
    image, images = session.image, session.infrastructure.images
    registry = await session.api.registry(session.fork)
    target = f"{registry.push}/doctor/{session.settings.instance.rpartition('-')[2]}:1"
    session.references.add(target)
    began = session.clock.monotonic()
    await push_image(images, image.reference, target, lambda progress: session.show_progress(_words("push", progress)))
    push_seconds = session.clock.monotonic() - began
    repository, tag = split_tag(target.removeprefix(f"{registry.push}/"))
    async with RegistryApi(f"http://{registry.push}") as api:
        size = await api.image_size(repository, tag)
    await _require_names(session, "pushed")
    async for progress in images.pull(target):
        session.show_progress(_words("pull", progress))
    pulled = await images.inspect(target)
    if pulled.labels.get(LABEL_IMAGE) != image.manifest_text:
        raise TrialFailed("image_differs", "the pulled image has another manifest than the pushed image")
    same = "the same" if pulled.id == image.info.id else "another"
    await images.remove(target)
    session.references.discard(target)
    await _require_names(session, "pulled back")
    slow = " (over a minute)" if push_seconds > SLOW_SECONDS else ""
    return (
        f"{size / 1e6:.0f} MB pushed in {push_seconds:.0f} s{slow}, each layer is in the registry; pulled back with "
        f"{same} content id; its own names are as before"
    )


async def _require_names(session: Session, done: str) -> None:
    """Raises TrialFailed when the image has other names than before, or the engine has another image of the bake."""
    await require_images(session, f"after it was {done}", besides=session.references)


def _listed(images: Mapping[str, tuple[str, ...]]) -> str:
    listed = [f"{image_id} ({', '.join(names) or 'no name'})" for image_id, names in sorted(images.items())]
    return ", ".join(listed) or "no image"


def _words(what: str, progress: TransferProgress) -> str:
    done = (
        f", {progress.current_bytes / 1e6:.0f} of {progress.total_bytes / 1e6:.0f} MB" if progress.total_bytes else ""
    )
    return f"{what}: {progress.layer} {progress.status}{done}"
