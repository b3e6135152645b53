"""The trial of node images in registries: the engine pushes the image under a name of its own, and pulls it back."""

from __future__ import annotations

from typing import Final

from dayfly.doctor.full.registry_api import RegistryApi
from dayfly.doctor.full.report import TrialFailed
from dayfly.doctor.full.session import Session
from dayfly.domain.naming import LABEL_IMAGE, split_tag
from dayfly.drivers.protocols import TransferProgress
from dayfly.images.transfer import push_image

SLOW_SECONDS: Final = 60.0
"""A push that takes longer is told of."""


async def transfer_image(session: Session) -> str:
    """To the registry of the fork, whole; back again; and the image's own names are as before."""
    image, images = session.image, session.outside.images
    registry = await session.api.registry(session.fork)
    target = f"{registry.push}/doctor/{session.settings.instance.rpartition('-')[2]}:1"
    session.references.add(target)
    began = session.clock.monotonic()
    await push_image(images, image.info.id, target, lambda progress: session.says(_words("push", progress)))
    push_seconds = session.clock.monotonic() - began
    repository, tag = split_tag(target.removeprefix(f"{registry.push}/"))
    async with RegistryApi(f"http://{registry.push}") as api:
        size = await api.image_size(repository, tag)
    await _require_names(session, "pushed")
    async for progress in images.pull(target):
        session.says(_words("pull", progress))
    pulled = await images.inspect(target)
    if pulled.labels.get(LABEL_IMAGE) != image.info.labels[LABEL_IMAGE]:
        raise TrialFailed("image_differs", "what was pulled has another manifest than the image that was pushed")
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
    """Raises TrialFailed where the image has other names than before, or another of its kind is on the engine."""
    own = session.image.info
    now = await session.outside.images.inspect(own.id)
    if set(now.references) != set(own.references):
        raise TrialFailed(
            "image_names_differ",
            f"after it was {done} the image has the names {sorted(now.references)}, before {sorted(own.references)}",
        )


def _words(what: str, progress: TransferProgress) -> str:
    done = (
        f", {progress.current_bytes / 1e6:.0f} of {progress.total_bytes / 1e6:.0f} MB" if progress.total_bytes else ""
    )
    return f"{what}: {progress.layer} {progress.status}{done}"
