"""ImageStore and ImageBuilder over Docker's API. Not here: how images are built (image_build.py)."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from aiodocker import Docker
from aiodocker.containers import DockerContainer

from dayfly.domain.cluster.naming import LABEL_INSTANCE, LABEL_ROLE, split_tag
from dayfly.drivers.docker import push_pull
from dayfly.drivers.docker.client import LOOK_SECONDS
from dayfly.drivers.docker.container_config import one_shot_config
from dayfly.drivers.docker.container_output import output_ends
from dayfly.drivers.docker.errors import engine_errors
from dayfly.drivers.docker.image_build import DockerBuilder
from dayfly.drivers.docker.objects import create, delete, image_in_path, labels_of, or_none, still_there, unless
from dayfly.drivers.interfaces import ExecResult, ImageInfo, TransferProgress

_CHANGE_SECONDS: Final = 300.0
"""The limit of one change: deleting a large image takes a slow disk minutes."""

_EPOCH: Final = datetime.fromtimestamp(0, UTC)


class DockerImages(DockerBuilder):
    """The images on one Docker engine. `docker_host` as in DockerClient; `logins`: docker's configuration file.

    `insecure_registries`: `host:port` of registries that Podman may use without verified TLS.
    `run` labels its containers with `instance`, where that is given: a killed process may leave one behind.
    """

    def __init__(
        self,
        docker_host: str | None = None,
        *,
        instance: str | None = None,
        logins: Path | None = None,
        insecure_registries: Collection[str] = (),
    ) -> None:
        super().__init__(docker_host)
        self._logins, self._insecure = logins, insecure_registries
        self._labels = {LABEL_ROLE: "one-shot"} | ({LABEL_INSTANCE: instance} if instance else {})
        self._ended: set[str] = set()
        """Names of one-shot containers that have ended and may still exist."""

    async def inspect(self, reference: str) -> ImageInfo:
        path = image_in_path(reference)
        async with self._client.looking(f"image {reference}") as docker:
            raw = await docker.images.inspect(path)
            podman = await self._client.is_podman()
        return _info(raw, labels_of(raw["Config"]), podman=podman)

    async def list(self, *, label: str) -> tuple[ImageInfo, ...]:
        async with self._client.looking("listing images") as docker:
            found = await docker.images.list(filters={"label": [label]})
            podman = await self._client.is_podman()
        return tuple(_info(raw, labels_of(raw), podman=podman) for raw in found if label in labels_of(raw))

    def push(self, reference: str) -> AsyncIterator[TransferProgress]:
        return push_pull.transfer(self._client, "pushing", reference, self._logins, self._insecure)

    def pull(self, reference: str) -> AsyncIterator[TransferProgress]:
        return push_pull.transfer(self._client, "pulling", reference, self._logins, self._insecure)

    async def tag(self, image: str, reference: str) -> None:
        repository, tag = split_tag(reference)
        async with self._client.looking(f"tagging {image}") as docker:
            await docker.images.tag(image_in_path(image), repository, tag=tag)

    async def remove(self, reference: str) -> None:
        path = image_in_path(reference)
        with engine_errors(f"removing {reference}"):
            async with asyncio.timeout(_CHANGE_SECONDS):
                images = self._client.get().images
                await unless(images.delete(path), 404)
                if await or_none(images.inspect(path)) is not None:
                    raise still_there(f"image {reference}")

    async def run(
        self, image: str, argv: Sequence[str], *, devices: Sequence[str] = (), timeout: float
    ) -> ExecResult | None:
        config = one_shot_config(image, argv, devices, self._labels)
        with engine_errors(f"running {argv[0]} in {image}"):
            await self._remove_ended()
            # Named before its creation, so that a cancelled call can remove it.
            name = f"dayfly-one-shot-{secrets.token_hex(6)}"
            container = self._client.get().containers.container(name)
            try:
                await create(self._client.get(), name, config, timeout=_CHANGE_SECONDS)
                async with asyncio.timeout(_CHANGE_SECONDS):
                    await container.start()
                return await _result(self._client.get(), container, timeout)
            finally:
                self._ended.add(name)
                await self._remove_ended()

    async def _remove_ended(self) -> None:
        """Remove ended one-shot containers. Those that an unavailable engine kept are removed before the next run."""
        for name in tuple(self._ended):
            async with asyncio.timeout(_CHANGE_SECONDS):
                await delete(self._client.get().containers.container(name))
            self._ended.discard(name)


async def _result(docker: Docker, container: DockerContainer, timeout: float) -> ExecResult | None:
    try:
        async with asyncio.timeout(timeout):
            ended = await container.wait()
    except TimeoutError:
        return None
    async with asyncio.timeout(LOOK_SECONDS):
        stdout, stderr = await output_ends(docker, container.id)
    return ExecResult(int(ended["StatusCode"]), stdout, stderr)


def _info(raw: Mapping[str, Any], labels: Mapping[str, str], *, podman: bool) -> ImageInfo:
    return ImageInfo(
        id=raw["Id"],
        references=_references(raw, podman=podman),
        labels=labels,
        size_bytes=int(raw["Size"]),
        created_at=_created(raw.get("Created")),
    )


def _created(at: object) -> datetime:
    """When an image was made, by its maker's own account: the epoch where that is no time."""
    try:
        found = datetime.fromisoformat(at) if isinstance(at, str) else datetime.fromtimestamp(float(at), UTC)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, OSError):
        return _EPOCH
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _references(raw: Mapping[str, Any], *, podman: bool) -> tuple[str, ...]:
    """In Docker's short form. Podman writes `docker.io/dayfly/bare:latest`, and `localhost/…` for loaded images."""
    tags = [str(tag) for tag in raw["RepoTags"] or () if tag != "<none>:<none>"]
    if podman:
        tags = [tag.removeprefix("docker.io/").removeprefix("library/").removeprefix("localhost/") for tag in tags]
    return tuple(dict.fromkeys(tags))
