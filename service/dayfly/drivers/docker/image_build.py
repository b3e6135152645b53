"""Builds images from a root file system, or from another image and files. A failed build leaves nothing.

aiodocker knows neither `docker import` nor streamed archives, so these two calls are made on its session directly.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from aiodocker import Docker
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError
from aiohttp import ClientError, ClientTimeout

from dayfly.domain.cluster.naming import split_tag
from dayfly.drivers.docker.client import DockerClient
from dayfly.drivers.docker.container_config import never_run_config
from dayfly.drivers.docker.errors import engine_errors, is_status, refusal
from dayfly.drivers.docker.image_files import unpack
from dayfly.drivers.docker.objects import commit, content_id, create, delete, image_in_path, or_none, unless
from dayfly.errors import BakeFailed, DayflyError, DiskFull

_SILENCE_SECONDS: Final = 1800.0
"""A transfer without output for so long has failed; node disks of some GiB are silent for minutes."""
_LOOK_SECONDS: Final = 60.0
_CHUNK_BYTES: Final = 1 << 20


class DockerBuilder:
    """An ImageBuilder. `docker_host` as in DockerClient."""

    def __init__(self, docker_host: str | None) -> None:
        self._client = DockerClient(docker_host)

    async def import_rootfs(self, tar: Path, reference: str, *, changes: Sequence[str] = ()) -> str:
        repository, tag = split_tag(reference)
        params = [("fromSrc", "-"), ("repo", repository), ("tag", tag), *(("changes", line) for line in changes)]
        docker, doing = self._client.get(), f"importing {reference}"
        with engine_errors(doing):
            replaced = await _id_of(docker, reference)
            try:
                output = await _send(docker, "POST", "images/create", params, await _file(tar), doing)
            except (BakeFailed, DiskFull):
                # containerd's image store names an image before it unpacks it.
                await _drop_unfinished(docker, reference, replaced)
                raise
            image_id = content_id(str(output[-1]["status"]))
            await _drop_replaced(docker, replaced, image_id)
        return image_id

    async def add_files(self, base: str, folder: Path, reference: str, *, labels: Mapping[str, str]) -> str:
        """Commits a container that never runs.

        The engine's builder would complete its step after its caller is gone: an image would be left over.
        """
        docker, doing = self._client.get(), f"making {reference}"
        # A fixed name, so that the next attempt finds the container of a killed one.
        container = docker.containers.container(f"dayfly-making-{re.sub('[^a-z0-9]+', '-', reference)}")
        with engine_errors(doing):
            replaced = await _id_of(docker, reference)
            await _delete(container)
            try:
                await create(docker, container.id, never_run_config(base), timeout=_LOOK_SECONDS)
                await _send(
                    docker, "PUT", f"containers/{container.id}/archive", [("path", "/")], _folder(folder), doing
                )
                image_id = await commit(container, reference, {"Labels": dict(labels)})
            finally:
                await _delete(container)
            await _drop_replaced(docker, replaced, image_id)
        return image_id

    async def read_files(self, image: str, path: str, folder: Path, *, reader: str) -> None:
        docker, doing = self._client.get(), f"reading {path} of {image}"
        # A fixed name, as in add_files.
        container = docker.containers.container(f"dayfly-reading-{re.sub('[^a-z0-9]+', '-', reader)}")
        with engine_errors(doing):
            await _delete(container)
            try:
                await create(docker, container.id, never_run_config(image), timeout=_LOOK_SECONDS)
                await unpack(docker, container.id, path, folder, doing)
            finally:
                await _delete(container)

    async def build(
        self,
        context: Path,
        reference: str,
        *,
        arguments: Mapping[str, str],
        labels: Mapping[str, str],
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        """Build image `reference` from the folder `context` and its Dockerfile. Raises as add_files()."""
        doing = f"building {reference}"
        params = [
            *(("t", reference), ("version", "1"), ("rm", "1"), ("forcerm", "1")),
            *(("buildargs", json.dumps(dict(arguments))), ("labels", json.dumps(dict(labels)))),
        ]
        with engine_errors(doing):
            await _send(self._client.get(), "POST", "build", params, _folder(context), doing, on_line)

    async def close(self) -> None:
        await self._client.close()


async def _delete(container: DockerContainer) -> None:
    async with asyncio.timeout(_LOOK_SECONDS):
        await delete(container)


async def _send(
    docker: Docker,
    method: str,
    path: str,
    params: Sequence[tuple[str, str]],
    body: AsyncIterator[bytes],
    doing: str,
    on_line: Callable[[str], None] | None = None,
) -> Sequence[Mapping[str, Any]]:
    """Send `body`, a tar; the answer's lines, which are JSON. `on_line` receives the output in them."""
    output: list[Mapping[str, Any]] = []
    try:
        async with docker.session.request(
            method,
            f"{docker.docker_host}/{docker.api_version}/{path}",
            params=params,
            data=body,
            headers={"Content-Type": "application/x-tar"},
            timeout=ClientTimeout(total=None, sock_read=_SILENCE_SECONDS),
        ) as response:
            if response.status >= 400:
                raise _failure(json.loads(await response.text())["message"], doing)
            async for raw in response.content:
                if not raw.strip():
                    continue
                output.append(line := json.loads(raw))
                if on_line is not None and (text := str(line.get("stream", "")).strip()):
                    on_line(text)
                if "error" in line:
                    raise _failure(str(line["error"]), doing)
    except ClientError as error:
        # aiohttp reports a body that cannot be read as a connection that cannot be written.
        if isinstance(error.__cause__, BakeFailed):
            raise error.__cause__ from error
        raise
    return output


def _failure(message: str, doing: str) -> DayflyError:
    error = refusal(message, doing)
    # A bake is a command on the server: its user may read the engine's text.
    return error if isinstance(error, DiskFull) else BakeFailed(f"{doing}: {error.operator_detail}")


async def _file(path: Path) -> AsyncIterator[bytes]:
    """Opens `path` before the request: a missing file must not look like a failure of the engine."""
    try:
        handle = await asyncio.to_thread(path.open, "rb")
    except OSError as error:
        raise BakeFailed(f"{path} cannot be read: {error.strerror}") from error
    return _chunks(handle)


async def _chunks(handle: BinaryIO) -> AsyncIterator[bytes]:
    with handle:
        while chunk := await asyncio.to_thread(handle.read, _CHUNK_BYTES):
            yield chunk


async def _folder(path: Path) -> AsyncIterator[bytes]:
    """The content of `path` as a tar, packed while it is sent: node disks have some GiB.

    Without the folder itself: the target folder would get its mode.
    """
    names = sorted(await asyncio.to_thread(os.listdir, path))
    tar = await asyncio.create_subprocess_exec(
        *("tar", "--create", "--numeric-owner", "--owner=0", "--group=0", "--sort=name", "--file=-"),
        *(f"--directory={path}", "--", *names),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert tar.stdout is not None  # noqa: S101 (for the type checker: it is a pipe)
    assert tar.stderr is not None  # noqa: S101
    try:
        while chunk := await tar.stdout.read(_CHUNK_BYTES):
            yield chunk
        stderr = (await tar.stderr.read()).decode(errors="replace")
        if await tar.wait() != 0:
            raise BakeFailed(f"packing {path} failed", evidence={"stderr": stderr})
    finally:
        if tar.returncode is None:
            with suppress(ProcessLookupError):
                tar.kill()
            await tar.wait()


async def _id_of(docker: Docker, reference: str) -> str | None:
    async with asyncio.timeout(_LOOK_SECONDS):
        image = await or_none(docker.images.inspect(image_in_path(reference)))
    return None if image is None else str(image["Id"])


async def _drop_unfinished(docker: Docker, reference: str, replaced: str | None) -> None:
    """Delete the image that `reference` names, unless `reference` named it before (`replaced`)."""
    if (unfinished := await _id_of(docker, reference)) is not None and unfinished != replaced:
        async with asyncio.timeout(_LOOK_SECONDS):
            await unless(docker.images.delete(image_in_path(reference)), 404)


async def _drop_replaced(docker: Docker, replaced: str | None, image_id: str) -> None:
    """Delete the image that the reference named before, unless a tag or a container uses it."""
    if replaced is None or replaced == image_id:
        return
    async with asyncio.timeout(_LOOK_SECONDS):
        try:
            if not (await docker.images.inspect(image_in_path(replaced)))["RepoTags"]:
                await docker.images.delete(image_in_path(replaced))
        except DockerError as error:
            if not is_status(error, 404, 409):
                raise
